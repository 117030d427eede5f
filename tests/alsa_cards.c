/* Sound cards that do not exist, for real PortAudio: libasound's view of the cards comes from a folder. For LD_PRELOAD.
 *
 * A file $FAKE_CARDS/N is card N: its first line the card's name, its second the ALSA device that hw:N,0 opens.
 * A file $FAKE_CARDS/N.busy makes it busy. Files may come and go while a program runs, as cards do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What of <alsa/asoundlib.h> is needed, so that its development package is not. */
typedef struct snd_ctl snd_ctl_t;
typedef struct snd_card_info snd_ctl_card_info_t;
typedef struct snd_pcm_info snd_pcm_info_t;
typedef struct snd_pcm snd_pcm_t;
enum { CAPTURE = 1, DISCONNECTED = 8 };
extern int snd_pcm_info_get_stream(const snd_pcm_info_t *info);

enum { CARDS = 32, TEXT = 256 };

static char name_of[CARDS][TEXT], device_of[CARDS][TEXT];
static int numbers[CARDS]; /* what a snd_ctl_t points to */
static int asked;          /* the card whose info was asked for last */

static int look(int card)
{
    char path[TEXT];
    FILE *file;
    snprintf(path, sizeof path, "%s/%d", getenv("FAKE_CARDS"), card);
    if (card < 0 || card >= CARDS || !(file = fopen(path, "r")))
        return 0;
    name_of[card][0] = device_of[card][0] = 0;
    if (fgets(name_of[card], TEXT, file) && fgets(device_of[card], TEXT, file)) {
        name_of[card][strcspn(name_of[card], "\n")] = 0;
        device_of[card][strcspn(device_of[card], "\n")] = 0;
    }
    fclose(file);
    return device_of[card][0] != 0;
}

static int busy(int card)
{
    char path[TEXT];
    snprintf(path, sizeof path, "%s/%d.busy", getenv("FAKE_CARDS"), card);
    return access(path, F_OK) == 0;
}

int snd_card_next(int *card)
{
    for (int next = *card + 1; next < CARDS; next++)
        if (look(next)) {
            *card = next;
            return 0;
        }
    *card = -1;
    return 0;
}

int snd_ctl_open(snd_ctl_t **control, const char *name, int mode)
{
    int card;
    (void)mode;
    if (sscanf(name, "hw:%d", &card) != 1 || !look(card))
        return -ENODEV;
    numbers[card] = card;
    *control = (snd_ctl_t *)&numbers[card];
    return 0;
}

int snd_ctl_close(snd_ctl_t *control) { (void)control; return 0; }

/* Mixers are opened this way: these cards have none. */
int snd_hctl_open(void **handle, const char *name, int mode)
{
    static int (*real)(void **, const char *, int);
    int card;
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "snd_hctl_open");
    return sscanf(name, "hw:%d", &card) == 1 ? -ENODEV : real(handle, name, mode);
}

int snd_ctl_card_info(snd_ctl_t *control, snd_ctl_card_info_t *info)
{
    (void)info;
    asked = *(int *)control;
    return 0;
}

const char *snd_ctl_card_info_get_name(const snd_ctl_card_info_t *info) { (void)info; return name_of[asked]; }

int snd_ctl_pcm_next_device(snd_ctl_t *control, int *device)
{
    (void)control;
    *device = *device < 0 ? 0 : -1;
    return 0;
}

int snd_ctl_pcm_info(snd_ctl_t *control, snd_pcm_info_t *info)
{
    (void)control;
    return snd_pcm_info_get_stream(info) == CAPTURE ? 0 : -ENOENT;
}

const char *snd_pcm_info_get_name(const snd_pcm_info_t *info) { (void)info; return "USB Audio"; }

/* A stream of a card that is gone fails as the kernel makes it fail. */
static snd_pcm_t *open_pcm;
static int open_card;

static int gone(snd_pcm_t *pcm) { return pcm == open_pcm && !look(open_card); }

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        *(void **)&real = dlsym(RTLD_NEXT, #name)

long snd_pcm_avail_update(snd_pcm_t *pcm) { REAL(snd_pcm_avail_update); return gone(pcm) ? -ENODEV : real(pcm); }
long snd_pcm_avail(snd_pcm_t *pcm) { REAL(snd_pcm_avail); return gone(pcm) ? -ENODEV : real(pcm); }
int snd_pcm_wait(snd_pcm_t *pcm, int ms) { REAL(snd_pcm_wait); return gone(pcm) ? -ENODEV : real(pcm, ms); }
int snd_pcm_prepare(snd_pcm_t *pcm) { REAL(snd_pcm_prepare); return gone(pcm) ? -ENODEV : real(pcm); }
int snd_pcm_state(snd_pcm_t *pcm) { REAL(snd_pcm_state); return gone(pcm) ? DISCONNECTED : real(pcm); }

long snd_pcm_readi(snd_pcm_t *pcm, void *samples, unsigned long frames)
{
    REAL(snd_pcm_readi);
    return gone(pcm) ? -ENODEV : real(pcm, samples, frames);
}

int snd_pcm_open(snd_pcm_t **pcm, const char *name, int stream, int mode)
{
    int card, failed;
    REAL(snd_pcm_open);
    if (sscanf(name, "hw:%d", &card) != 1)
        return real(pcm, name, stream, mode);
    if (!look(card) || stream != CAPTURE)
        return -ENODEV;
    failed = busy(card) ? -EBUSY : real(pcm, device_of[card], stream, mode);
    if (!failed) {
        open_pcm = *pcm; /* the last one: a process records from one card */
        open_card = card;
    }
    return failed;
}
