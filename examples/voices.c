/* Two characters answer the same line in one batch.
 *   voices MODEL.gguf ADAPTERS "LINE"        (ADAPTERS/elf and ADAPTERS/villain are PEFT directories) */
#include <chorus.h>
#include <stdio.h>

static const char* const kNames[] = {"elf", "villain"};
enum { kCount = 2 };

static int on_event(void* user, const chorus_event* event) {
  (void)user;
  if (event->kind != CHORUS_EVENT_DONE) return 0;
  printf("%s: %s\n  (%d tokens, first after %.0f ms, %.2f s)\n", kNames[event->voice], event->text,
         event->tokens, event->first_token_seconds * 1e3, event->seconds);
  return 0;
}

static int fail(const char* what, const chorus_error* error) {
  fprintf(stderr, "%s: %s\n", what, error->message);
  return 1;
}

static int speak(chorus_model* model, const char* adapters, const char* line) {
  chorus_error error = CHORUS_ERROR_INIT;
  const chorus_voice usual = CHORUS_VOICE_INIT;
  chorus_voice voices[kCount];
  for (int i = 0; i < kCount; ++i) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", adapters, kNames[i]);
    if (chorus_load_adapter(model, kNames[i], path, &error) != CHORUS_OK) return fail(kNames[i], &error);
    voices[i] = usual;
    voices[i].use = kNames[i];
    voices[i].prompt = line;
    voices[i].max_tokens = 80;
    voices[i].seed = 1;
  }
  if (chorus_run(model, voices, kCount, on_event, NULL, &error) != CHORUS_OK) return fail("voices", &error);
  chorus_stats stats = CHORUS_STATS_INIT;
  chorus_get_stats(model, &stats, NULL);
  printf("%llu rows in %llu steps\n", (unsigned long long)stats.rows, (unsigned long long)stats.steps);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: voices MODEL.gguf ADAPTERS \"LINE\"\n");
    return 2;
  }
  chorus_error error = CHORUS_ERROR_INIT;
  chorus_model* model = NULL;
  if (chorus_open(argv[1], NULL, &model, &error) != CHORUS_OK) return fail(argv[1], &error);
  const int result = speak(model, argv[2], argv[3]);
  chorus_close(model);
  return result;
}
