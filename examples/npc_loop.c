/* A game's loop: 60 frames a second, and characters who speak meanwhile. Nothing in a frame waits for them.
 *   npc_loop MODEL.gguf ADAPTERS             (ADAPTERS/elf and ADAPTERS/villain are PEFT directories) */
#define _POSIX_C_SOURCE 200809L
#include <chorus.h>
#include <stdio.h>
#include <time.h>

enum { kCharacters = 4, kFrameUs = 16667 };
static const char* const kUse[kCharacters] = {"elf", "villain", "elf@0.5+villain@0.5", NULL};
static const char* const kWho[kCharacters] = {"elf", "villain", "half-elf", "guard"};

static double now_us(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/* What a frame does of speech: takes what has come, however little. Returns 0 once all have ended. */
static int poll_speech(chorus_request* request) {
  chorus_event event = CHORUS_EVENT_INIT;
  int result = 0;
  while ((result = chorus_next(request, &event, 0)) == 1) {
    if (event.kind == CHORUS_EVENT_DONE) printf("%s: %s\n", kWho[event.voice], event.text);
  }
  return result == 0;
}

static void play(chorus_request* request) {
  double longest = 0;
  int frames = 0, talking = 1;
  for (; talking; ++frames) {
    const double begun = now_us();
    talking = poll_speech(request); /* beside drawing, physics, ... */
    const double taken = now_us() - begun;
    if (taken > longest) longest = taken;
    const long left = (long)(kFrameUs - taken);
    const struct timespec rest = {0, (left > 0 ? left : 0) * 1000};
    nanosleep(&rest, NULL);
  }
  printf("%d frames; speech took at most %.0f us of one\n", frames, longest);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: npc_loop MODEL.gguf ADAPTERS\n");
    return 2;
  }
  chorus_error error = CHORUS_ERROR_INIT;
  chorus_model* model = NULL;
  chorus_request* request = NULL;
  const chorus_voice usual = CHORUS_VOICE_INIT;
  chorus_voice voices[kCharacters];
  chorus_status status = chorus_open(argv[1], NULL, &model, &error);
  for (int i = 0; i < 2 && status == CHORUS_OK; ++i) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", argv[2], kWho[i]);
    status = chorus_load_adapter(model, kWho[i], path, &error);
  }
  for (int i = 0; i < kCharacters; ++i) {
    voices[i] = usual;
    voices[i].use = kUse[i];
    voices[i].prompt = "The king demands your oath. What do you say?";
    voices[i].max_tokens = 60;
    voices[i].seed = (uint64_t)i;
  }
  if (status == CHORUS_OK) status = chorus_submit(model, voices, kCharacters, &request, &error);
  if (status == CHORUS_OK)
    play(request);
  else
    fprintf(stderr, "%s\n", error.message);
  chorus_free(request);
  chorus_close(model);
  return status == CHORUS_OK ? 0 : 1;
}
