// How documents spread: news goes out at once (to everyone while there are few; when there are many, to the neighbours,
// who pass it on to theirs), and every ping carries the hash of its sender's documents, so that what was lost on the
// way arrives all the same: who sees another hash answers with a digest.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cluster/document.h"
#include "cluster/membership.h"
#include "cluster/message.h"

namespace cohort::cluster {

struct GossipOptions {
  TimeMs interval_ms = 200;          // between two rounds of news
  TimeMs digest_interval_ms = 300;   // between two digests sent, and 3 ms more for each device
  size_t message_bytes = 512 << 10;  // of documents in one message
};

class Gossip {
 public:
  Gossip(DeviceId self, GossipOptions options);

  const Documents& documents() const { return documents_; }
  void publish(const Document& document);  // of this device, or its plan
  void forget(const std::string& key);

  bool has_news(TimeMs now_ms) const { return now_ms >= next_round_ms_ && !news_.empty(); }
  // `peers` get what is news.
  void tick(TimeMs now_ms, const std::vector<DeviceId>& peers, std::vector<Envelope>& out);
  // Keys that changed are appended to `changed`; they are news for others when there are many devices.
  void receive(TimeMs now_ms, const DeviceId& from, const Message& message, size_t devices,
               std::vector<Envelope>& out, std::vector<std::string>& changed);

 private:
  void send_documents(const DeviceId& to, const std::vector<Document>& documents,
                      std::vector<Envelope>& out) const;

  const DeviceId self_;
  const GossipOptions options_;
  Documents documents_;
  std::set<std::string> news_;  // keys
  TimeMs next_round_ms_ = 0;
  TimeMs next_digest_ms_ = 0;
};

}  // namespace cohort::cluster
