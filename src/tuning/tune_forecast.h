#pragma once

#include <vector>

#include "train/data_doctor.h"
#include "train/trainer.h"

namespace chorus {

// What a run will take, for each of its adapters: their times add up, the memory is that of all. Runs a pass
// to see how fast they are here and now; nothing of the trainer changes.
std::vector<Forecast> forecast(Trainer& trainer);

// Of the whole run.
Forecast together(const std::vector<Forecast>& forecasts);

}  // namespace chorus
