"""The configuration of a NATS server that loses nothing it has acknowledged."""

SAFE_CONFIGURATION = """\
# A NATS server that acknowledges nothing it could lose: `nats-server -c FILE`.
listen: "127.0.0.1:4222"   # beyond this machine: another address, and the tls block below
http: "127.0.0.1:8222"     # where `eventtree doctor` reads whether it syncs
server_name: eventtree     # each server of a cluster has its own
max_payload: 8MB
jetstream {
  store_dir: "./jetstream"
  sync_interval: always    # else an acknowledged message may be lost when the power fails: it is synced every 2 minutes
  max_file_store: 20GB     # at this size relays wait, and nothing is dropped
}
# authorization { token: $EVENTTREE_RELAY_TOKEN }
# tls { cert_file: "server.pem", key_file: "server-key.pem" }
"""
