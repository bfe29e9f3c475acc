"""The secret by which an OpenID Connect provider knows this hub, sealed: it goes in, and never comes out."""

from __future__ import annotations

from fastapi import APIRouter

from highball.secret import SecretValue
from highball.web.api.sealed_secrets import SecretSent
from highball.web.authorize import Admin
from highball.web.dependencies import TheOperations

router = APIRouter(prefix="/api/v1", tags=["access"])


@router.put("/settings/oidc/secret", status_code=204)
def seal_secret(operations: TheOperations, sent: SecretSent, actor: Admin) -> None:
    """Seal the client's secret; it counts for the issuer that is declared now, and for no other."""
    value = SecretValue(sent.value.get_secret_value().encode())
    operations.seal_provider_secret(value, actor)


@router.delete("/settings/oidc/secret", status_code=204)
def forget_secret(operations: TheOperations, actor: Admin) -> None:
    """Forget the client's secret."""
    operations.forget_provider_secret(actor)
