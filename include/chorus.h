/* Chorus in your own program: one int4 base model, many LoRA adapters, all voices in one batch.
 *
 * A model is opened once; adapters are loaded and dropped while voices speak. A request is one or more voices
 * that answer together; what they say is taken with chorus_next(), which a game calls once a frame and which
 * never blocks with a timeout of 0, or with chorus_run(), which calls back until all have ended.
 *
 * Threads: every function may be called from any thread, on the same model too; one request is to be used by
 * one thread at a time. The model computes on threads of its own, which sleep while nobody speaks. Ownership:
 * what is passed in is copied before the call returns. What comes out belongs to the object it came from; its
 * lifetime stands with each function. NULL is allowed where it says so, and for the error of every function.
 * Errors: nothing throws, exits or prints. A function that can fail returns a status, 0 being success, and
 * says why in `error`. After CHORUS_NO_MEMORY the model is as it was before the call. Growth: every struct
 * begins with its size. The CHORUS_..._INIT macros set it and the defaults; later versions add members at the
 * end only, and take structs of earlier ones. */
#ifndef CHORUS_H
#define CHORUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define CHORUS_API __attribute__((visibility("default")))
#else
#define CHORUS_API
#endif

typedef struct chorus_model chorus_model;
typedef struct chorus_request chorus_request;

typedef enum chorus_status {
  CHORUS_OK = 0,
  CHORUS_BAD_INPUT = 1, /* a file, an argument or a voice that cannot be; the text says which and why */
  CHORUS_NOT_FOUND = 2, /* no adapter of that name */
  CHORUS_BUSY = 3,      /* the queue is full: try again later */
  CHORUS_NO_MEMORY = 4,
  CHORUS_FAILED = 5 /* a fault of ours */
} chorus_status;

/* Why a call failed: one line of UTF-8. */
typedef struct chorus_error {
  size_t struct_size;
  char message[512];
} chorus_error;
#define CHORUS_ERROR_INIT       \
  {                             \
    sizeof(chorus_error), { 0 } \
  }

/* "0.1.0"; static. */
CHORUS_API const char* chorus_version(void);

/* ---- models ---- */

typedef struct chorus_model_options {
  size_t struct_size;
  int threads;    /* 0: one per physical core */
  int context;    /* tokens of the longest sequence; 0: the model's own */
  int max_voices; /* that speak at once; the others wait. 0: 64 */
  int exact; /* not 0: 16-bit inputs and adapters as in their files; slower, nearest to the model in f32 */
  size_t kv_bytes;       /* for keys and values; 0: 512 MiB */
  const char* cache_dir; /* where packed models are kept for later starts; NULL: nowhere */
} chorus_model_options;
#define CHORUS_MODEL_OPTIONS_INIT \
  { sizeof(chorus_model_options), 0, 0, 0, 0, 0, NULL }

/* Opens a GGUF file or a Hugging Face directory. `options` may be NULL. On success *model is to be closed. */
CHORUS_API chorus_status chorus_open(const char* path, const chorus_model_options* options,
                                     chorus_model** model, chorus_error* error);
/* Ends what its requests have under way. They still have to be freed: they say CHORUS_FINISH_CANCELLED, and
 * nothing more can be submitted with the model. No other call on the model may be under way but
 * chorus_next(). NULL: nothing. */
CHORUS_API void chorus_close(chorus_model* model);

/* ---- adapters ---- */

/* Loads a PEFT or MLX directory or a GGUF LoRA file, beside the voices that speak: it takes this thread's
 * time, not theirs. A name that exists is replaced for requests from then on. */
CHORUS_API chorus_status chorus_load_adapter(chorus_model* model, const char* name, const char* path,
                                             chorus_error* error);
/* Voices that speak with it go on with it to their end; its memory is free when the last has ended. */
CHORUS_API chorus_status chorus_unload_adapter(chorus_model* model, const char* name, chorus_error* error);

typedef struct chorus_adapter {
  size_t struct_size;
  char name[65];
  char id[65]; /* SHA-256 of its content */
  int rank;    /* the largest */
  int exact;   /* not 0: kept as in its files; 0: in int8 */
  size_t bytes;
} chorus_adapter;
#define CHORUS_ADAPTER_INIT \
  { sizeof(chorus_adapter), {0}, {0}, 0, 0, 0 }

/* How many there are. */
CHORUS_API size_t chorus_adapter_count(const chorus_model* model);
/* The adapter at a place in the order of their names. CHORUS_NOT_FOUND: there are not so many (any more). */
CHORUS_API chorus_status chorus_adapter_at(const chorus_model* model, size_t index, chorus_adapter* adapter,
                                           chorus_error* error);

/* ---- voices ---- */

typedef struct chorus_message {
  const char* role; /* "system", "user" or "assistant" */
  const char* content;
} chorus_message;

/* One voice of a request. Texts are UTF-8. */
typedef struct chorus_voice {
  size_t struct_size;
  const char* use;                /* an adapter or a mix, "elf@0.7+villain@0.3"; NULL or "": the base */
  const char* system;             /* may be NULL */
  const char* prompt;             /* what the user says; NULL where there are messages */
  const chorus_message* messages; /* a conversation, in place of system and prompt */
  size_t message_count;
  int raw;                  /* not 0: the prompt as it is, without the model's chat template */
  int max_tokens;           /* at least 1 */
  int top_k;                /* 0: all */
  float temperature;        /* 0: the likeliest token */
  float top_p;              /* 1: all */
  float min_p;              /* 0: all */
  float repetition_penalty; /* 1: none */
  uint64_t seed;            /* equal seeds and voices give equal texts, alone or among others */
  const char* const* stop;  /* texts that end it and are not part of it; at most 16 */
  size_t stop_count;
  const char* json_schema; /* the answer is JSON of this schema; at most one of the three. NULL: any text */
  const char* regex;
  const char* grammar; /* GBNF */
} chorus_voice;
#define CHORUS_VOICE_INIT                                                                                  \
  {                                                                                                        \
    sizeof(chorus_voice), NULL, NULL, NULL, NULL, 0, 0, 256, 0, 0.7f, 1.0f, 0.05f, 1.0f, 0, NULL, 0, NULL, \
        NULL, NULL                                                                                         \
  }

typedef enum chorus_event_kind {
  CHORUS_EVENT_TEXT = 1, /* some more text of a voice, whole characters */
  CHORUS_EVENT_DONE = 2  /* a voice has ended; once for each */
} chorus_event_kind;

typedef enum chorus_finish {
  CHORUS_FINISH_NONE = 0,
  CHORUS_FINISH_STOP = 1,   /* by itself or at a stop text */
  CHORUS_FINISH_LENGTH = 2, /* max_tokens, or the context is full */
  CHORUS_FINISH_CANCELLED = 3,
  CHORUS_FINISH_ERROR = 4
} chorus_finish;

typedef struct chorus_event {
  size_t struct_size;
  chorus_event_kind kind;
  size_t voice; /* its place among the voices of the request */
  const char*
      text; /* ends with a 0. Of TEXT: what is new; of DONE: all of it. Until the request's next call */
  size_t text_bytes;
  chorus_finish finish; /* of DONE */
  const char* message;  /* of CHORUS_FINISH_ERROR: why; else "" */
  int prompt_tokens, tokens;
  double first_token_seconds, seconds; /* since it was submitted */
} chorus_event;
#define CHORUS_EVENT_INIT \
  { sizeof(chorus_event), (chorus_event_kind)0, 0, NULL, 0, CHORUS_FINISH_NONE, NULL, 0, 0, 0, 0 }

/* Submits voices that speak in the same steps. All or none: a voice that cannot be is told by its number.
 * `voices` is an array of chorus_voice; its element size is voices[0].struct_size. On success *request is to
 * be freed. */
CHORUS_API chorus_status chorus_submit(chorus_model* model, const chorus_voice* voices, size_t count,
                                       chorus_request** request, chorus_error* error);

/* The next event. 1: there is one. 0: none came within the time (0 ms: it does not wait; negative: for ever).
 * -1: all voices have ended, and their ends have been told. -2: the call cannot be (a NULL, an event without
 * its size) or there was no memory for it; another may be. */
CHORUS_API int chorus_next(chorus_request* request, chorus_event* event, int timeout_ms);

#define CHORUS_ALL ((size_t)-1)
/* Ends one voice, or all of them; their DONE events say so. From any thread. */
CHORUS_API void chorus_cancel(chorus_request* request, size_t voice);
/* Cancels what has not ended. NULL: nothing. */
CHORUS_API void chorus_free(chorus_request* request);

/* Called on the thread that called chorus_run(). Not 0: all voices are cancelled. */
typedef int (*chorus_callback)(void* user, const chorus_event* event);
/* Submits, calls back for every event and returns when all voices have ended. A voice that failed is told by
 * its event, and is no failure of this. */
CHORUS_API chorus_status chorus_run(chorus_model* model, const chorus_voice* voices, size_t count,
                                    chorus_callback callback, void* user, chorus_error* error);

/* What the model has done since it was opened: rows / steps is how many voices shared a step. */
typedef struct chorus_stats {
  size_t struct_size;
  uint64_t steps, rows;
  int running, waiting; /* voices */
  size_t kv_bytes;      /* reserved */
} chorus_stats;
#define CHORUS_STATS_INIT \
  { sizeof(chorus_stats), 0, 0, 0, 0, 0 }
CHORUS_API chorus_status chorus_get_stats(const chorus_model* model, chorus_stats* stats,
                                          chorus_error* error);

#ifdef __cplusplus
}
#endif

#endif
