#pragma once

#include <string>

#include "base/thread_team.h"
#include "model/adapter_export.h"
#include "model/weights.h"

namespace chorus {

// What an adapter and its conversion give on the same tokens.
struct ConversionCheck {
  double difference = 0;  // largest between their logits
  double effect = 0;      // largest between the adapter's logits and the base's
  double largest = 0;     // logit, without its sign
  int tokens = 0;

  // Rounding, of the logits and of B where it was multiplied, and no more: a thousandth of the effect.
  bool close() const;
};

// Writes `adapter` for the model to `out` in another format, reads that and runs both; `out` comes into being
// when they have been found close. Error: the adapter does not fit; there is an `out` already; the
// conversion is not close; what the writers refuse.
ConversionCheck convert_adapter(const AdapterFile& adapter, const std::string& out, AdapterFormat format,
                                const Model& model, ThreadTeam& team);

}  // namespace chorus
