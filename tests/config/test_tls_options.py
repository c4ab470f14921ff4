from pathlib import Path

import pytest

from icwsgw.config.schema import GatewayConfig
from icwsgw.errors import ConfigError


def test_one_source_of_certificates() -> None:
    path = Path("/x")
    with pytest.raises(ConfigError, match="go together"):
        GatewayConfig(tls_certificate_pem_path=path)
    with pytest.raises(ConfigError, match="leave out one"):
        GatewayConfig(tls_certificate_pem_path=path, tls_certificate_key_pem_path=path, tls_certificate_dir=path)
