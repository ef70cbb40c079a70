"""Log-in by OpenID Connect providers that the operator configured: authorization code with PKCE, by discovery."""
