#include <netinet/in.h>
#include <netinet/tcp.h>

#include "mesh/socket_options.h"

namespace cohort::mesh {

const TcpOption kDropUnanswered = {TCP_USER_TIMEOUT,
                                   2'000};  // milliseconds without an acknowledgement

}  // namespace cohort::mesh
