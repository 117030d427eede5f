"""Adds our version and the models to a bill of materials: ``sbom_models.py VERSION MODEL.json... < bill > whole``."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def component(manifest: Path) -> dict[str, object]:
    """One model as CycloneDX describes it."""
    about = json.loads(manifest.read_text("utf-8"))
    return {
        "bom-ref": f"model:{about['name']}",
        "type": "machine-learning-model",
        "name": about["name"],
        "description": about["provenance"],
        "hashes": [{"alg": "SHA-256", "content": about["sha256"]}],
        "licenses": [{"license": {"name": about["weights_licence"]}}],
    }


bill = json.load(sys.stdin)
version, *models = sys.argv[1:]
bill["metadata"]["component"]["version"] = version
bill["components"] += [component(Path(name)) for name in models]
json.dump(bill, sys.stdout, indent=2)
