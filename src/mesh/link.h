// An established link: control messages first, streams take turns behind them, and a peer that falls silent ends it.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "mesh/link_stream.h"
#include "mesh/mesh.h"
#include "mesh/secure_socket.h"
#include "net/task.h"

namespace cohort::mesh {

// Called while the link reads; never from inside a call to it.
struct LinkEvents {
  std::function<void(std::string message)> message;
  std::function<void(std::unique_ptr<Stream> stream)> stream;
  std::function<void(std::string message)> probe;
};

inline constexpr std::string_view kUnneeded = "nobody needs it now";  // why a link was closed

class Link final : public StreamCarrier {
 public:
  static constexpr size_t kMaxQueuedBytes = 8u << 20;  // of control messages
  static constexpr size_t kMaxStreams = 512;           // of both sides
  static constexpr size_t kMaxPurposeBytes = 64;
  static constexpr std::chrono::milliseconds kHeartbeat{
      400};                                                   // at least so often something is said
  static constexpr std::chrono::milliseconds kSilence{1500};  // then the peer counts as gone

  Link(SecureSocket socket, Peer peer, Role role, LinkEvents events);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();  // after run()

  net::Task<std::string> run();  // returns why it ended

  const Peer& peer() const { return peer_; }
  Role role() const { return role_; }
  bool alive() const { return why_.empty(); }
  bool has_streams() const { return !streams_.empty(); }
  bool send(std::string message);
  bool send_probe(std::string_view message);
  Result<std::unique_ptr<Stream>> open_stream(std::string purpose);
  void tick(net::TimePoint now);           // now and then: heartbeats and silence
  void say_goodbye(std::string_view why);  // sends what is queued, then ends; kUnneeded is no loss
  void end(std::string why);               // at once

 private:
  void has_data(uint32_t stream) override;
  void send_frame(const Frame& frame) override;
  void forget(uint32_t stream) override;

  net::Task<void> read_loop();
  net::Task<void> write_loop();
  void fill_batch(std::string& batch);
  void append_message(std::string& batch);
  void append_streams(std::string& batch);
  Result<void> on_frame(const Frame& frame);
  Result<void> on_stream_frame(const Frame& frame);
  Result<void> on_message(const Frame& frame);
  Result<void> on_open(const Frame& frame);
  bool opened_before(uint32_t stream) const;

  SecureSocket socket_;
  const Peer peer_;
  const Role role_;
  LinkEvents events_;
  std::string why_;  // it ended

  std::string partial_message_;  // received
  net::TimePoint last_heard_, last_sent_, last_tick_;

  std::string control_frames_;        // encoded, to send first
  std::deque<std::string> messages_;  // to send next
  size_t messages_bytes_ = 0;
  size_t message_sent_ = 0;     // of the first one
  std::deque<uint32_t> ready_;  // streams that may have data, in turn
  bool leaving_ = false;
  std::string goodbye_;  // why we leave
  net::Notification writable_;

  std::map<uint32_t, LinkStream*> streams_;  // owned by who opened or took them
  uint32_t next_stream_;                     // odd ids are the dialer's
  uint32_t last_peer_stream_ = 0;
  net::TaskGroup tasks_;
};

}  // namespace cohort::mesh
