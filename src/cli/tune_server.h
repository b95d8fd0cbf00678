#pragma once

#include <string>
#include <vector>

#include "tuning/tune_settings.h"

namespace chorus {

// Tuning that a server does beside serving, instead of this process.
struct ServerTuneOptions {
  std::string url, key_file;                  // of the server; the file's first line is the key
  std::string model;                          // as the server calls the base
  std::vector<std::string> data, validation;  // files; of validation none, one, or one for each of data
  std::string output;                         // as of TunerOptions
  std::string suffix;                         // the adapter's name; empty: of the data
  TuneSettings settings;
  bool json = false;
};

// Sends the data, starts a job for each, tells on stderr how they get on and puts their results into the
// output directory. Ctrl-C cancels them. Returns the exit status. Error: what the server refuses; a job that
// failed.
int tune_on_server(const ServerTuneOptions& options);

}  // namespace chorus
