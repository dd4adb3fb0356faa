"""All clients there are. A new one is a module here and a line below."""

from tests.interop.clients import authlib_starlette, go_oidc, mod_auth_openidc, openid_client
from tests.interop.site import Client

CLIENTS: tuple[Client, ...] = (
    authlib_starlette.Authlib(),
    openid_client.OpenidClient(),
    openid_client.PublicOpenidClient(),
    openid_client.StrictOpenidClient(),
    go_oidc.GoOidc(),
    mod_auth_openidc.ModAuthOpenidc(),
    mod_auth_openidc.OldModAuthOpenidc(),
)
