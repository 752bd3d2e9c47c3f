#include "cluster/gossip.h"

#include <algorithm>
#include <utility>

namespace cohort::cluster {
namespace {

Message message_of(MessageType type) {
  Message message;
  message.type = static_cast<uint8_t>(type);
  return message;
}

}  // namespace

Gossip::Gossip(DeviceId self, GossipOptions options) : self_(std::move(self)), options_(options) {}

void Gossip::publish(const Document& document) {
  if (documents_.merge(document)) news_.insert(document.key);
}

void Gossip::forget(const std::string& key) {
  documents_.erase(key);
  news_.erase(key);
}

void Gossip::send_documents(const DeviceId& to, const std::vector<Document>& documents,
                            std::vector<Envelope>& out) const {
  Message message = message_of(MessageType::kRumours);
  size_t bytes = 0;
  for (const Document& document : documents) {
    if (bytes > 0 && bytes + document.body.size() > options_.message_bytes) {
      out.push_back({to, std::exchange(message, message_of(MessageType::kRumours))});
      bytes = 0;
    }
    message.documents.push_back(document);
    bytes += document.body.size();
  }
  if (!message.documents.empty()) out.push_back({to, std::move(message)});
}

void Gossip::tick(TimeMs now_ms, const std::vector<DeviceId>& peers, std::vector<Envelope>& out) {
  if (peers.empty() || !has_news(now_ms)) return;
  next_round_ms_ = now_ms + options_.interval_ms;
  std::vector<Document> documents;
  for (const std::string& key : std::exchange(news_, {})) {
    if (const Document* document = documents_.find(key)) documents.push_back(*document);
  }
  for (const DeviceId& peer : peers) send_documents(peer, documents, out);
}

void Gossip::receive(TimeMs now_ms, const DeviceId& from, const Message& message, size_t devices,
                     std::vector<Envelope>& out, std::vector<std::string>& changed) {
  for (const Document& document : message.documents) {
    if (document.key == device_key(self_)) continue;  // nobody else writes it
    if (!documents_.merge(document)) continue;
    changed.push_back(document.key);
    if (devices > kFullMeshUpTo) news_.insert(document.key);  // pass it on
  }
  switch (static_cast<MessageType>(message.type)) {
    case MessageType::kPing:
      if (message.hash != documents_.hash() && now_ms >= next_digest_ms_) {
        next_digest_ms_ = now_ms + options_.digest_interval_ms + 3 * static_cast<TimeMs>(devices);
        Message digest = message_of(MessageType::kDigest);
        digest.digest = documents_.digest();
        out.push_back({from, std::move(digest)});
      }
      break;
    case MessageType::kDigest: {
      send_documents(from, documents_.newer_than(message.digest), out);
      Message want = message_of(MessageType::kWant);
      want.digest = documents_.digest();
      out.push_back({from, std::move(want)});
      break;
    }
    case MessageType::kWant:
      send_documents(from, documents_.newer_than(message.digest), out);
      break;
    default: break;
  }
}

}  // namespace cohort::cluster
