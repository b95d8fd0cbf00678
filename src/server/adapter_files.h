#pragma once

#include <string>
#include <vector>

#include "server/multipart.h"

namespace chorus {

// Those of a form's files that make an adapter; views of the form.
struct AdapterFiles {
  std::vector<FormPart> kept;        // `filename` without its folders
  std::vector<std::string> ignored;  // what an adapter does not need
  bool gguf = false;                 // one GGUF file, nothing else
};

// A PEFT or MLX folder's files, or one GGUF file. A file's name may have folders before it, as browsers send
// them. ApiError: there is no adapter among them, or more than one; a name that is none.
AdapterFiles read_adapter_files(const std::vector<FormPart>& parts);

}  // namespace chorus
