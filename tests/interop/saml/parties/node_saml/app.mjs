// A site that logs people in with @node-saml/node-saml; with the argument "metadata" it says what it is and ends.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { SAML } from "@node-saml/node-saml";

const { SITE, FOLDER } = process.env;
const read = (name) => readFileSync(`${FOLDER}/${name}`, "utf8");
const WHO = {
  pairwise_id: "urn:oasis:names:tc:SAML:attribute:pairwise-id",
  name: "urn:oid:2.16.840.1.113730.3.1.241",
  email: "urn:oid:0.9.2342.19200300.100.1.3",
};
const own = {
  issuer: `${SITE}/metadata`,
  callbackUrl: `${SITE}/acs`,
  logoutCallbackUrl: `${SITE}/slo`,
  identifierFormat: "urn:oasis:names:tc:SAML:2.0:nameid-format:transient",
  disableRequestedAuthnContext: true,
  privateKey: read("key.pem"),
  decryptionPvk: read("key.pem"),
  signatureAlgorithm: "sha256",
  digestAlgorithm: "sha256",
  validateInResponseTo: "always",
};

if (process.argv[2] === "metadata") {
  const certificate = read("certificate.pem");
  process.stdout.write(new SAML({ ...own, idpCert: certificate }).generateServiceProviderMetadata(certificate, certificate));
  process.exit();
}

const provider = read("idp.xml");
const [, entryPoint] = provider.match(/SingleSignOnService[^>]*HTTP-Redirect"[^>]*Location="([^"]+)"/);
const [, logoutUrl] = provider.match(/SingleLogoutService[^>]*HTTP-Redirect"[^>]*Location="([^"]+)"/);
const [, idpIssuer] = provider.match(/entityID="([^"]+)"/);
const idpCert = provider.match(/X509Certificate>([^<]+)</)[1].replace(/\s/g, "");
const cache = new Map();
const cacheProvider = {
  saveAsync: async (key, value) => (cache.set(key, value), { value, createdAt: Date.now() }),
  getAsync: async (key) => cache.get(key) ?? null,
  removeAsync: async (key) => (cache.delete(key) ? key : null),
};
const usual = { ...own, entryPoint, logoutUrl, idpIssuer, idpCert, cacheProvider };
const saml = new SAML(usual);
const anew = new SAML({ ...usual, forceAuthn: true });
// It looks for InResponseTo in login responses only, and misses it in a posted LogoutResponse.
const leaving = new SAML({ ...usual, validateInResponseTo: "ifPresent" });
const sessions = new Map();
const profiles = new Map();
const forget = (session) => [sessions, profiles].forEach((each) => each.delete(session));
const sessionOf = (request) => /session=(\w+)/.exec(request.headers.cookie ?? "")?.[1];
const formOf = async (request) => {
  let body = "";
  for await (const part of request) body += part;
  return Object.fromEntries(new URLSearchParams(body));
};

const answers = {
  "GET /login": async (request, url) => {
    const address = await (url.searchParams.has("anew") ? anew : saml).getAuthorizeUrlAsync("", "", {});
    return [303, { location: address }];
  },
  "POST /acs": async (request) => {
    const { profile } = await saml.validatePostResponseAsync(await formOf(request));
    if (!profile) throw new Error("nobody");
    const session = randomBytes(16).toString("hex");
    const told = Object.entries(WHO).map(([name, attribute]) => [name, profile[attribute]]);
    profiles.set(session, profile);
    sessions.set(session, { name_id: profile.nameID, ...Object.fromEntries(told) });
    return [303, { location: "/", "set-cookie": `session=${session}; Path=/; HttpOnly` }];
  },
  "GET /logout": async (request) => {
    const session = sessionOf(request);
    const address = await saml.getLogoutUrlAsync(profiles.get(session), "", {});
    forget(session);
    return [303, { location: address }];
  },
  "POST /slo": async (request) => {
    const form = await formOf(request);
    if (form.SAMLResponse) {
      const { loggedOut } = await leaving.validatePostResponseAsync(form);
      return loggedOut ? [303, { location: "/bye" }] : [403, {}, "still there"];
    }
    const { profile } = await saml.validatePostRequestAsync(form);
    for (const [session, known] of profiles) if (known.sessionIndex === profile.sessionIndex) forget(session);
    return [303, { location: await saml.getLogoutResponseUrlAsync(profile, form.RelayState ?? "", {}, true) }];
  },
  "GET /bye": async () => [200, {}, "bye"],
  "GET /": async (request) => {
    const who = sessions.get(sessionOf(request));
    return who ? [200, { "content-type": "application/json" }, JSON.stringify(who)] : [401, {}, "nobody"];
  },
};

createServer(async (request, response) => {
  const url = new URL(request.url, SITE);
  const answer = answers[`${request.method} ${url.pathname}`];
  try {
    const [status, headers, body] = answer ? await answer(request, url) : [404, {}, ""];
    response.writeHead(status, headers).end(body);
  } catch (error) {
    console.error(error);
    response.writeHead(403).end(String(error.message));
  }
}).listen(new URL(SITE).port, "127.0.0.1");
