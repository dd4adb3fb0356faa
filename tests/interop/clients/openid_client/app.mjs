// A site that logs people in with openid-client.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { createRemoteJWKSet, importPKCS8, jwtVerify } from 'jose'
import * as oidc from 'openid-client'

const { ISSUER, CLIENT_ID, CLIENT_SECRET, CLIENT_KEY, SITE = 'http://127.0.0.1:3000' } = process.env

// Without the first, openid-client relies on TLS and leaves signatures unchecked. The second is for `make demo` only.
const execute = [oidc.enableNonRepudiationChecks]
if (ISSUER.startsWith('http://localhost:')) execute.push(oidc.allowInsecureRequests)
const authentication = await proof()
const broker = await oidc.discovery(new URL(ISSUER), CLIENT_ID, undefined, authentication, { execute })
const keys = createRemoteJWKSet(new URL(broker.serverMetadata().jwks_uri))

const visits = new Map() // on the server; the cookie has only the key
const nobody = { status: 401, text: 'Not logged in: go to /login' }

// A secret; better a key, whose public half is registered; or nothing, for an app without a server of its own.
async function proof() {
  if (CLIENT_KEY) return oidc.PrivateKeyJwt(await importPKCS8(readFileSync(CLIENT_KEY, 'utf8'), 'ES256'))
  return CLIENT_SECRET ? oidc.ClientSecretBasic(CLIENT_SECRET) : oidc.None()
}

const pages = {
  'GET /': async ({ login }) => (login ? { json: { claims: login.claims, userinfo: login.userinfo } } : nobody),

  'GET /login': async (visit) => {
    const checks = {
      pkceCodeVerifier: oidc.randomPKCECodeVerifier(),
      expectedState: oidc.randomState(),
      expectedNonce: oidc.randomNonce(),
    }
    visit.pending = checks
    const parameters = {
      redirect_uri: `${SITE}/callback`,
      scope: 'openid profile email offline_access',
      state: checks.expectedState,
      nonce: checks.expectedNonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
      code_challenge_method: 'S256',
    }
    // Who has a key may push the request too (RFC 9126), so that nobody can read or change it on the way.
    const build = CLIENT_KEY ? oidc.buildAuthorizationUrlWithPAR : oidc.buildAuthorizationUrl
    return { to: await build(broker, parameters) }
  },

  'GET /callback': async (visit, url) => {
    const checks = visit.pending
    delete visit.pending
    if (!checks) return { status: 400, text: 'refused: no login was begun here' }
    const tokens = await oidc.authorizationCodeGrant(broker, url, checks)
    const claims = tokens.claims()
    const userinfo = await oidc.fetchUserInfo(broker, tokens.access_token, claims.sub)
    return { to: '/', visit: { login: { claims, userinfo, tokens } } }
  },

  'POST /refresh': async ({ login }) => {
    if (!login) return nobody
    const tokens = await oidc.refreshTokenGrant(broker, login.tokens.refresh_token)
    login.tokens = { ...login.tokens, ...tokens } // the old refresh token is spent
    login.userinfo = await oidc.fetchUserInfo(broker, tokens.access_token, login.claims.sub)
    return { to: '/' }
  },

  'POST /logout': async ({ login }) => {
    const parameters = { post_logout_redirect_uri: `${SITE}/`, ...(login && { id_token_hint: login.tokens.id_token }) }
    return { to: oidc.buildEndSessionUrl(broker, parameters), visit: {} }
  },

  // The broker itself calls here when she logged out elsewhere (Back-Channel Logout 1.0).
  'POST /backchannel': async (_visit, _url, request) => {
    const token = new URLSearchParams(await text(request)).get('logout_token')
    const expected = { issuer: ISSUER, audience: CLIENT_ID, typ: 'logout+jwt', requiredClaims: ['exp', 'iat', 'jti', 'sid'] }
    const { payload } = await jwtVerify(token, keys, expected)
    if ('nonce' in payload || !payload.events?.['http://schemas.openid.net/event/backchannel-logout']) {
      return { status: 400, text: 'refused: no logout token' }
    }
    for (const visit of visits.values()) if (visit.login?.claims.sid === payload.sid) delete visit.login
    return { status: 200, text: 'logged out' }
  },
}

const server = createServer(async (request, response) => {
  const url = new URL(request.url, SITE)
  const key = /(?:^|; )visit=([^;]+)/.exec(request.headers.cookie ?? '')?.[1]
  const visit = visits.get(key) ?? {}
  const page = pages[`${request.method} ${url.pathname}`]
  let answer = { status: 404, text: 'no such page' }
  try {
    if (page) answer = await page(visit, url, request)
  } catch (error) {
    answer = { status: 400, text: `refused: ${[error.error, error.message, error.cause?.message].filter(Boolean).join(': ')}` }
  }
  if (answer.visit || !visits.has(key)) {
    // A login gets a key that nobody could know before.
    visits.delete(key)
    const next = randomUUID()
    visits.set(next, answer.visit ?? visit)
    const secure = SITE.startsWith('https:') ? '; Secure' : ''
    response.setHeader('set-cookie', `visit=${next}; Path=/; HttpOnly; SameSite=Lax${secure}`)
  }
  if (answer.to) response.writeHead(303, { location: String(answer.to) }).end()
  else if (answer.json) response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer.json))
  else response.writeHead(answer.status, { 'content-type': 'text/plain' }).end(answer.text)
})
server.listen(new URL(SITE).port || 443, '127.0.0.1')
