// Two ranks that met over TCP, and proved the instance's secret there, settle here what they will be linked by. What
// they say is sealed like all else on that link; both keep to one order of telling and hearing.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "transport/handshake.h"
#include "transport/link.h"

namespace cohort::transport {

class Meeting {
 public:
  // `handshake` is what the link was opened with, and names the peer's rank.
  Meeting(std::unique_ptr<Link> link, const HandshakeOptions& handshake, bool dialled)
      : kept_(std::move(link)), link_(*kept_), handshake_(handshake), dialled_(dialled) {}

  bool dialled() const { return dialled_; }  // true on exactly one side
  const std::string& peer() const { return link_.peer(); }
  const HandshakeOptions& handshake() const { return handshake_; }

  Result<void> tell(std::string_view text);  // at most kMaxMessageBytes; does not wait for hear()
  // kTimeout at the handshake's deadline, kUnavailable when the peer is gone.
  Result<std::string> hear();

  // For what goes on using it. The two can be told and heard as long as it lives.
  std::unique_ptr<Link> take_link() { return std::move(kept_); }

 private:
  void wait(Interest interest);

  std::unique_ptr<Link> kept_;
  Link& link_;
  const HandshakeOptions& handshake_;
  bool dialled_;
};

}  // namespace cohort::transport
