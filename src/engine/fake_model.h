#pragma once

// For tests of the engine: adapters without weights, and a model whose next token depends on everything that
// a real one's does, so that a wrong slot, page, position, shared prefix, adapter or scale changes the text.

#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/request.h"
#include "model/batch.h"

namespace chorus {

inline AdapterHandle fake_adapter(std::string id, int max_rank = 8) {
  LoraMatrices group;
  group.b[0].cols = max_rank;
  return std::make_shared<Adapter>(std::move(id), AdapterForm::kExact, std::vector<LoraMatrices>{group},
                                   Buffer<std::byte>());
}

constexpr uint64_t mix_bits(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15 + b + 0x632BE59BD9B4E019;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

inline uint64_t adapter_hash(uint64_t before, const Adapter& adapter, float scale) {
  return mix_bits(mix_bits(before, std::hash<std::string>()(adapter.id())), std::bit_cast<uint32_t>(scale));
}

inline uint64_t adapters_hash(std::span<const AdapterUse> adapters) {
  uint64_t hash = 7;
  for (const AdapterUse& use : adapters) hash = adapter_hash(hash, *use.adapter, use.scale);
  return hash;
}

// What is stored for a token: like K and V, it depends on all tokens before it and on the adapters.
constexpr uint64_t store_of(uint64_t previous, int32_t token, int position, uint64_t adapters) {
  return mix_bits(mix_bits(previous, static_cast<uint64_t>(token)),
                  mix_bits(static_cast<uint64_t>(position), adapters));
}

inline void fill_logits(uint64_t context, std::span<float> logits) {
  for (size_t i = 0; i < logits.size(); ++i)
    logits[i] = static_cast<float>(mix_bits(context, i) >> 40) * 0x1p-24f * 8;
}

class FakeModel {
 public:
  FakeModel(int vocab, int pages)
      : vocab_(static_cast<size_t>(vocab)), stored_(static_cast<size_t>(pages) * kPagePositions, kPoison) {
    rows_.reserve(4096);
  }

  void forward(const Batch& batch, std::span<float> logits) {
    rows_.assign(static_cast<size_t>(batch.rows()), 7);
    for (const LoraSegment& s : batch.segments) {
      for (int row = s.row_begin; row < s.row_end; ++row) {
        uint64_t& hash = rows_[static_cast<size_t>(row)];
        hash = adapter_hash(hash, *s.adapter, s.scale);
      }
    }
    for (const AttentionSequence& s : batch.sequences) store(batch, s);
    size_t output = 0;
    for (const int32_t row : batch.logit_rows)
      fill_logits(read(batch, row), logits.subspan(output++ * vocab_, vocab_));
  }

  void poison(int32_t page) {
    for (int i = 0; i < kPagePositions; ++i)
      stored_[static_cast<size_t>(page * kPagePositions + i)] = kPoison;
  }

  int broken = 0;  // rows whose description contradicts itself

 private:
  static constexpr uint64_t kPoison = 0xDEAD;

  uint64_t& at(const AttentionSequence& s, int position) {
    const int page = s.block_table[position / kPagePositions];
    return stored_[static_cast<size_t>(page * kPagePositions + position % kPagePositions)];
  }

  void store(const Batch& batch, const AttentionSequence& s) {
    const int first = s.context_length - (s.row_end - s.row_begin);
    for (int row = s.row_begin; row < s.row_end; ++row) {
      const size_t r = static_cast<size_t>(row);
      const int position = batch.positions[r];
      broken += position != first + row - s.row_begin;
      broken += &at(s, position) != &stored_[static_cast<size_t>(batch.slots[r])];
      const uint64_t previous = position == 0 ? 0 : at(s, position - 1);
      stored_[static_cast<size_t>(batch.slots[r])] = store_of(previous, batch.tokens[r], position, rows_[r]);
    }
  }

  // Of every stored position up to the row's, through the block table.
  uint64_t read(const Batch& batch, int32_t row) {
    for (const AttentionSequence& s : batch.sequences) {
      if (row < s.row_begin || row >= s.row_end) continue;
      uint64_t context = rows_[static_cast<size_t>(row)];
      for (int p = 0; p <= batch.positions[static_cast<size_t>(row)]; ++p)
        context = mix_bits(context, at(s, p));
      return context;
    }
    ++broken;
    return 0;
  }

  size_t vocab_;
  std::vector<uint64_t> stored_, rows_;
};

// The same, straight from the tokens.
inline uint64_t context_of(std::span<const int32_t> tokens, uint64_t adapters) {
  uint64_t context = adapters, previous = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    previous = store_of(previous, tokens[i], static_cast<int>(i), adapters);
    context = mix_bits(context, previous);
  }
  return context;
}

}  // namespace chorus
