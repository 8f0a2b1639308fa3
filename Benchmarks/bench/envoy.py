"""The configuration of Envoy, see peers.py."""


def bootstrap(ports, backends, certificate):
    listeners = [
        _listener("http", ports["http"], "HTTP1", "http"),
        _listener("h2c", ports["h2c"], "HTTP2", "http"),
        _listener("tls", ports["tls"], "AUTO", "http", certificate),
        _listener("grpc", ports["grpc"], "HTTP2", "grpc"),
        _listener("ws", ports["ws"], "HTTP1", "ws"),
    ]
    clusters = [
        _cluster("http", backends.http, False), _cluster("grpc", backends.grpc, True),
        _cluster("ws", backends.ws, False)]
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


_ENVOY = "type.googleapis.com/envoy.extensions"


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _listener(name, port, codec, cluster, certificate=None):
    router = {"@type": f"{_ENVOY}.filters.http.router.v3.Router", "dynamic_stats": False,
              "suppress_envoy_headers": True}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "0s"}}]
    connection_manager = {
        "@type": f"{_ENVOY}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name, "codec_type": codec, "generate_request_id": False, "use_remote_address": True,
        "stream_idle_timeout": "0s",
        "http_filters": [{"name": "router", "typed_config": router}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    if name == "ws":
        connection_manager["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    chain = {"filters": [{"name": "http", "typed_config": connection_manager}]}
    if certificate:
        pair = {"certificate_chain": {"filename": certificate.chain}, "private_key": {"filename": certificate.key}}
        chain["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": f"{_ENVOY}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [pair]}}}
    return {"name": name, "address": _address(port), "filter_chains": [chain]}


def _cluster(name, port, is_http2):
    many = 100_000
    cluster = {
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [
            {"max_connections": many, "max_pending_requests": many, "max_requests": many}]},
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]},
    }
    if is_http2:
        cluster["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_ENVOY}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}}}}
    return cluster
