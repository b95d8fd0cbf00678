#include "server/adapter_objects.h"

namespace chorus {
namespace {

std::string_view residency_name(Residency residency) {
  switch (residency) {
    case Residency::kLoading:
      return "loading";
    case Residency::kReady:
      return "ready";
    case Residency::kOnDisk:
      return "on_disk";
    case Residency::kFailed:
      return "failed";
  }
  return "";
}

}  // namespace

json::object adapter_object(const AdapterStatus& status) {
  return {{"name", status.name},
          {"id", or_null(status.id)},
          {"path", status.path},
          {"residency", residency_name(status.residency)},
          {"pinned", status.pinned},
          {"watched", status.watched},
          {"rank", status.rank},
          {"form", status.form == AdapterForm::kInt8 ? "int8" : "exact"},
          {"bytes", status.bytes},
          {"users", status.users},
          {"loads", status.loads},
          {"load_seconds", status.load_seconds},
          {"warnings", json::value_from(status.warnings)},
          {"error", or_null(status.error)}};
}

ApiError outcome_error(const AdapterOutcome& outcome) {
  switch (outcome.problem) {
    case AdapterProblem::kNotFound:
      return {404, "not_found_error", outcome.message};
    case AdapterProblem::kNoMemory:
    case AdapterProblem::kStopping:
      return {503, "unavailable_error", outcome.message};
    default:
      return {400, "invalid_request_error", outcome.message};
  }
}

}  // namespace chorus
