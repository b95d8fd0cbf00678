// Writes llama.cpp's logits of one sequence of tokens, for accuracy.py, which compiles this against a
// llama.cpp build: its library's default settings, but for AMX, which not every kernel lets a program use.
//
//   accuracy_llama MODEL.gguf TOKENS OUT THREADS [ADAPTER.gguf SCALE]...
//
// TOKENS holds int32s; OUT gets f32 [tokens, vocab].

#include <llama.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

// Nothing here can go on after a failure.
void check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "accuracy_llama: %s\n", what);
  std::exit(1);
}

std::vector<llama_token> read_tokens(const char* path) {
  FILE* file = std::fopen(path, "rb");
  check(file != nullptr, "cannot read the tokens");
  std::vector<llama_token> tokens;
  for (llama_token token; std::fread(&token, sizeof(token), 1, file) == 1;) tokens.push_back(token);
  std::fclose(file);
  return tokens;
}

llama_context* make_context(llama_model* model, size_t tokens, int threads) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(tokens);
  params.n_batch = static_cast<uint32_t>(tokens);
  params.n_threads = params.n_threads_batch = threads;
  llama_context* context = llama_init_from_model(model, params);
  check(context != nullptr, "cannot make a context");
  return context;
}

void set_adapters(llama_model* model, llama_context* context, int count, char** arguments) {
  std::vector<llama_adapter_lora*> adapters;
  std::vector<float> scales;
  for (int i = 0; i + 1 < count; i += 2) {
    adapters.push_back(llama_adapter_lora_init(model, arguments[i]));
    check(adapters.back() != nullptr, "cannot load an adapter");
    scales.push_back(std::strtof(arguments[i + 1], nullptr));
  }
  if (adapters.empty()) return;
  check(llama_set_adapters_lora(context, adapters.data(), adapters.size(), scales.data()) == 0,
        "cannot set the adapters");
}

// All tokens at once, with the logits of every position.
void decode(llama_context* context, const std::vector<llama_token>& tokens) {
  llama_batch batch = llama_batch_init(static_cast<int32_t>(tokens.size()), 0, 1);
  for (size_t i = 0; i < tokens.size(); ++i) {
    batch.token[i] = tokens[i];
    batch.pos[i] = static_cast<llama_pos>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  batch.n_tokens = static_cast<int32_t>(tokens.size());
  check(llama_decode(context, batch) == 0, "cannot decode");
  llama_batch_free(batch);
}

}  // namespace

int main(int argc, char** argv) {
  check(argc >= 5, "usage: MODEL.gguf TOKENS OUT THREADS [ADAPTER.gguf SCALE]...");
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model_params params = llama_model_default_params();
  params.use_extra_bufts = false;  // AMX and repacked weights: other layouts, the same 8-bit activations
  llama_model* model = llama_model_load_from_file(argv[1], params);
  check(model != nullptr, "cannot load the model");
  const std::vector<llama_token> tokens = read_tokens(argv[2]);
  llama_context* context = make_context(model, tokens.size(), std::atoi(argv[4]));
  set_adapters(model, context, argc - 5, argv + 5);
  decode(context, tokens);
  const auto vocab = static_cast<size_t>(llama_vocab_n_tokens(llama_model_get_vocab(model)));
  FILE* out = std::fopen(argv[3], "wb");
  check(out != nullptr, "cannot write the logits");
  for (size_t i = 0; i < tokens.size(); ++i) {
    const float* row = llama_get_logits_ith(context, static_cast<int32_t>(i));
    check(row != nullptr && std::fwrite(row, sizeof(float), vocab, out) == vocab, "cannot write the logits");
  }
  check(std::fclose(out) == 0, "cannot write the logits");
  llama_free(context);
  llama_model_free(model);
}
