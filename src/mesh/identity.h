// Who a device is: an Ed25519 key made at its first start. The id is the first 16 bytes of the SHA-256 of the public key,
// in hexadecimal.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace cohort::mesh {

class Identity {
 public:
  // From <data_dir>/device-key (made when absent, mode 0600). With no data_dir a new one each time.
  static Result<Identity> load_or_create(const std::string& data_dir);

  const std::string& id() const { return id_; }
  const std::string& public_key() const { return public_key_; }  // 32 bytes
  Result<std::string> sign(std::string_view bytes) const;        // 64 bytes

 private:
  std::shared_ptr<void> key_;  // immutable
  std::string id_, public_key_;
};

std::string id_of_public_key(std::string_view public_key);
bool verify_signature(std::string_view public_key, std::string_view bytes,
                      std::string_view signature);

}  // namespace cohort::mesh
