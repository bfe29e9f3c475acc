"""Environment variables: which restic gets from us, and which a declared repository may set for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from highball.secret import SecretReference, is_named_like_a_secret


def refuse_variable(name: str, value: str | SecretReference) -> tuple[str, str | None] | None:
    """Why a variable cannot be set, and what to do: it would change restic unseen, or is a secret."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return "is not the name of a variable", None
    upper = name.upper()
    if upper.endswith("_ALLOW_EXECUTABLES"):
        return "cannot be set here", "it would let a file start a program"
    for refused, instead in _REFUSED_VARIABLES.items():
        if upper == refused or (refused.endswith("_") and upper.startswith(refused)):
            return "cannot be set here", instead
    if isinstance(value, str) and is_named_like_a_secret(name):
        return "is a secret, not text", "write { file = … }, { env = … } or { command = … }"
    return None


_REFUSED_VARIABLES = {
    "RESTIC_PASSWORD": "use password",
    "RESTIC_PASSWORD_FILE": "use password = { file = … }",
    "RESTIC_PASSWORD_COMMAND": "use password = { command = … }",
    "RESTIC_REPOSITORY": "use url",
    "RESTIC_REPOSITORY_FILE": "use url",
    "RESTIC_REST_USERNAME": "use rest_username",
    "RESTIC_REST_PASSWORD": "use rest_password",
    "RESTIC_CACERT": "use certificate",
    "RESTIC_COMPRESSION": "use compression, in a job",
    "RESTIC_READ_CONCURRENCY": "use read_concurrency, in a job",
    "RESTIC_": "Highball sets what restic is told",
    "HIGHBALL_": "Highball sets these itself",
    "PATH": "use restic, in the settings",
    "TZ": "use timezone, in the settings or a schedule",
    "LD_": "it would change which code runs",
    "DYLD_": "it would change which code runs",
    "BASH_ENV": "it would change which code runs",
    "ENV": "it would change which code runs",
    "SHELL": "it would change which code runs",
    "IFS": "it would change which code runs",
    "GODEBUG": "it would change how restic runs",
    "AWS_SHARED_CREDENTIALS_FILE": "use access_key_id and secret_access_key",
}


PLAIN = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AZURE_ACCOUNT_NAME",
        "AZURE_ACCOUNT_KEY",
        "AZURE_ACCOUNT_SAS",
        "AZURE_ENDPOINT_SUFFIX",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "B2_ACCOUNT_ID",
        "B2_ACCOUNT_KEY",
        "GOOGLE_PROJECT_ID",
        "GOOGLE_ACCESS_TOKEN",
        "OS_AUTH_URL",
        "OS_AUTH_TOKEN",
        "OS_APPLICATION_CREDENTIAL_ID",
        "OS_APPLICATION_CREDENTIAL_NAME",
        "OS_APPLICATION_CREDENTIAL_SECRET",
        "OS_PASSWORD",
        "OS_PROJECT_DOMAIN_ID",
        "OS_PROJECT_DOMAIN_NAME",
        "OS_PROJECT_ID",
        "OS_PROJECT_NAME",
        "OS_REGION_NAME",
        "OS_STORAGE_URL",
        "OS_TENANT_ID",
        "OS_TENANT_NAME",
        "OS_TRUST_ID",
        "OS_USERNAME",
        "OS_USER_DOMAIN_ID",
        "OS_USER_DOMAIN_NAME",
        "OS_USER_ID",
        "ST_AUTH",
        "ST_KEY",
        "ST_USER",
        "SWIFT_DEFAULT_CONTAINER_POLICY",
        "GOMAXPROCS",
    }
)
"""Variables that only say how storage is reached: the whole name, for others that begin alike start programs."""

NAMING_FILES = frozenset(
    {
        "AWS_CONFIG_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_FEDERATED_TOKEN_FILE",
        "GOOGLE_APPLICATION_CREDENTIALS",
    }
)
"""Variables that name a file with a secret."""


def kept_environment(there: Mapping[str, str]) -> dict[str, str]:
    """The few variables that restic and the ssh that it starts need of those of their place."""
    kept = ("PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR")
    return {"PATH": os.defpath, "HOME": "/nonexistent"} | {n: there[n] for n in kept if n in there}
