#pragma once

#include "formats/json.h"
#include "tuning/file_store.h"
#include "tuning/tuning_job.h"

namespace chorus {

// OpenAI's objects of files and fine-tuning. A job has our "lora" beside them: all its settings.
json::object file_object(const StoredFile& file);
json::object job_object(const JobState& job);
json::object event_object(const JobEvent& event);
json::object checkpoint_object(const TuningJob& job, const JobCheckpoint& checkpoint);

// Reads the body of POST /v1/fine_tuning/jobs. ApiError: a field that is not known or not supported, a value
// that it cannot have.
JobRequest read_job_request(const json::object& body);

}  // namespace chorus
