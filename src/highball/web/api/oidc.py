"""The secret by which an OpenID Connect provider knows this hub, sealed: it goes in, and never comes out."""

from __future__ import annotations

from fastapi import APIRouter

from highball.errors import Unknown
from highball.hub.auth.single_sign_on import place_of_secret
from highball.hub.hub import Hub
from highball.hub.runs.record import utc_now
from highball.secret import SecretValue
from highball.web.api.sealed_secrets import SecretSent
from highball.web.authorize import Admin
from highball.web.dependencies import TheHub

router = APIRouter(prefix="/api/v1", tags=["access"])


def _place(hub: Hub) -> str:
    provider = hub.document().settings.oidc
    if provider is None:
        raise Unknown("no provider is configured", code="provider_unset", hint="declare settings.oidc first")
    return place_of_secret(provider.issuer)


@router.put("/settings/oidc/secret", status_code=204)
def seal_secret(hub: TheHub, sent: SecretSent, actor: Admin) -> None:
    """Seal the client's secret; it counts for the issuer that is declared now, and for no other."""
    value = SecretValue(sent.value.get_secret_value().encode())
    hub.vault.seal(_place(hub), value, actor, utc_now())


@router.delete("/settings/oidc/secret", status_code=204)
def forget_secret(hub: TheHub, actor: Admin) -> None:
    """Forget the client's secret."""
    hub.vault.remove(_place(hub), actor, utc_now())
