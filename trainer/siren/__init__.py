"""The SIREN benchmark: any encoder on ten data sets of machines, as published and as a careful person would report."""
