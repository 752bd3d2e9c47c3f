#include "mesh/secure_socket.h"

#include <cstring>

#include <openssl/ssl.h>
#include <openssl/sslerr.h>

#include "base/check.h"
#include "mesh/refusals.h"

namespace cohort::mesh {
namespace {

using PreSharedKey = SecureContexts::PreSharedKey;

constexpr char kCipher[] = "TLS_AES_128_GCM_SHA256";
constexpr unsigned char kCipherId[] = {0x13, 0x01};  // the key is bound to this cipher's hash
constexpr char kBindingLabel[] = "EXPORTER-cohort-device";
constexpr size_t kBindingBytes = 32;

int key_index() {
  static const int index = SSL_CTX_get_ex_new_index(0, nullptr, nullptr, nullptr, nullptr);
  return index;
}

const PreSharedKey& key_of(SSL* ssl) {
  return *static_cast<const PreSharedKey*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), key_index()));
}

SSL_SESSION* session_of(SSL* ssl, const PreSharedKey& key) {
  SSL_SESSION* session = SSL_SESSION_new();
  const bool fine = session != nullptr &&
                    SSL_SESSION_set1_master_key(session, key.key.data(), key.key.size()) == 1 &&
                    SSL_SESSION_set_cipher(session, SSL_CIPHER_find(ssl, kCipherId)) == 1 &&
                    SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1;
  if (fine) return session;
  SSL_SESSION_free(session);
  return nullptr;
}

int find_session(SSL* ssl, const unsigned char* identity, size_t size, SSL_SESSION** session) {
  const PreSharedKey& key = key_of(ssl);
  const std::string_view given(reinterpret_cast<const char*>(identity), size);
  *session = given == key.identity ? session_of(ssl, key) : nullptr;
  return 1;
}

int use_session(SSL* ssl, const EVP_MD* digest, const unsigned char** identity, size_t* size,
                SSL_SESSION** session) {
  const PreSharedKey& key = key_of(ssl);
  *session = nullptr;
  if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256) return 1;
  *identity = reinterpret_cast<const unsigned char*>(key.identity.data());
  *size = key.identity.size();
  *session = session_of(ssl, key);
  return *session != nullptr ? 1 : 0;
}

void prepare(asio::ssl::context& context, PreSharedKey& key) {
  SSL_CTX* native = context.native_handle();
  COHORT_CHECK(SSL_CTX_set_ex_data(native, key_index(), &key) == 1);
  COHORT_CHECK(SSL_CTX_set_min_proto_version(native, TLS1_3_VERSION) == 1);
  COHORT_CHECK(SSL_CTX_set_ciphersuites(native, kCipher) == 1);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  COHORT_CHECK(SSL_CTX_set_num_tickets(native, 0) == 1);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
}

std::string explain(const boost::system::error_code& error) {
  if (error == asio::error::operation_aborted) return "the handshake took too long";
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated)
    return "it hung up in the handshake";
  if (error.category() != asio::error::get_ssl_category()) return error.message();
  switch (ERR_GET_REASON(static_cast<unsigned long>(error.value()))) {
    case SSL_R_BINDER_DOES_NOT_VERIFY:
    case SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR: return std::string(kOtherSecret);
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE: return std::string(kOtherNamespace);
    default: return fmt::format("it does not speak our TLS ({})", error.message());
  }
}

}  // namespace

SecureContexts::SecureContexts(const GroupKeys& keys)
    : key_{.key = keys.link_key, .identity = fmt::format("cohort {:016x}", keys.namespace_tag)},
      dialer_(asio::ssl::context::tlsv13_client),
      listener_(asio::ssl::context::tlsv13_server) {
  prepare(dialer_, key_);
  prepare(listener_, key_);
  dialer_.set_verify_mode(asio::ssl::verify_peer);  // so a listener with a certificate is refused
  SSL_CTX_set_psk_use_session_callback(dialer_.native_handle(), use_session);
  SSL_CTX_set_psk_find_session_callback(listener_.native_handle(), find_session);
}

net::Task<Result<void>> secure(SecureSocket& socket, Role role) {
  const auto type =
      role == Role::kDialer ? asio::ssl::stream_base::client : asio::ssl::stream_base::server;
  const auto [error] = co_await socket.async_handshake(type, net::kAsTuple);
  if (error) co_return fail(Code::kUnauthorized, "{}", explain(error));
  if (SSL_session_reused(socket.native_handle()) != 1)
    co_return fail(Code::kUnauthorized, "it did not prove the cluster's key");
  co_return Result<void>();
}

std::string channel_binding(SecureSocket& socket) {
  std::string bytes(kBindingBytes, '\0');
  const int made = SSL_export_keying_material(
      socket.native_handle(), reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(),
      kBindingLabel, sizeof kBindingLabel - 1, nullptr, 0, 0);
  COHORT_CHECK(made == 1);
  return bytes;
}

}  // namespace cohort::mesh
