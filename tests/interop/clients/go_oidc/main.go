// A site that logs people in with go-oidc.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

type login struct {
	Claims   json.RawMessage `json:"claims"`
	UserInfo json.RawMessage `json:"userinfo"`
	subject  string
	idToken  string
	tokens   *oauth2.Token
}

var (
	issuer   = os.Getenv("ISSUER")
	site     = os.Getenv("SITE")
	secure   = strings.HasPrefix(site, "https:")
	logins   sync.Map // on the server; the cookie has only the key
	broker   *oidc.Provider
	config   oauth2.Config
	verifier *oidc.IDTokenVerifier
	metadata struct {
		EndSession string `json:"end_session_endpoint"`
	}
)

func main() {
	if site == "" {
		site = "http://127.0.0.1:3000"
	}
	var err error
	if broker, err = oidc.NewProvider(context.Background(), issuer); err != nil {
		log.Fatal(err)
	}
	if err = broker.Claims(&metadata); err != nil {
		log.Fatal(err)
	}
	config = oauth2.Config{
		ClientID:     os.Getenv("CLIENT_ID"),
		ClientSecret: os.Getenv("CLIENT_SECRET"),
		Endpoint:     broker.Endpoint(),
		RedirectURL:  site + "/callback",
		Scopes:       []string{oidc.ScopeOpenID, "profile", "email", oidc.ScopeOfflineAccess},
	}
	config.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	verifier = broker.Verifier(&oidc.Config{ClientID: config.ClientID})
	http.HandleFunc("GET /{$}", home)
	http.HandleFunc("GET /login", begin)
	http.HandleFunc("GET /callback", finish)
	http.HandleFunc("POST /refresh", refresh)
	http.HandleFunc("POST /logout", logout)
	at, err := url.Parse(site)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(at.Host, nil))
}

func home(w http.ResponseWriter, r *http.Request) {
	_, known := current(r)
	if known == nil {
		http.Error(w, "Not logged in: go to /login", http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(known)
}

func begin(w http.ResponseWriter, r *http.Request) {
	state, nonce, pkce := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	setCookie(w, "pending", state+"."+nonce+"."+pkce)
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(pkce)), http.StatusFound)
}

func finish(w http.ResponseWriter, r *http.Request) {
	answer := r.URL.Query()
	cookie, err := r.Cookie("pending")
	setCookie(w, "pending", "")
	// go-oidc leaves state, nonce and the issuer of the answer (RFC 9207) to you.
	pending := []string{"", "", ""}
	if err == nil && strings.Count(cookie.Value, ".") == 2 {
		pending = strings.Split(cookie.Value, ".")
	}
	state, nonce, pkce := pending[0], pending[1], pending[2]
	switch {
	case state == "" || answer.Get("state") != state:
		refuse(w, "state does not match")
		return
	case answer.Get("iss") != issuer:
		refuse(w, "the answer is not from our login service")
		return
	case answer.Has("error"):
		refuse(w, answer.Get("error")+": "+answer.Get("error_description"))
		return
	}
	tokens, err := config.Exchange(r.Context(), answer.Get("code"), oauth2.VerifierOption(pkce))
	if err != nil {
		refuse(w, err.Error())
		return
	}
	raw, _ := tokens.Extra("id_token").(string)
	idToken, err := verifier.Verify(r.Context(), raw)
	if err != nil {
		refuse(w, err.Error())
		return
	}
	if idToken.Nonce != nonce {
		refuse(w, "nonce does not match")
		return
	}
	known := &login{subject: idToken.Subject, idToken: raw, tokens: tokens}
	if err := idToken.Claims(&known.Claims); err != nil {
		refuse(w, err.Error())
		return
	}
	if err := known.askUserInfo(r.Context()); err != nil {
		refuse(w, err.Error())
		return
	}
	key := rand.Text()
	logins.Store(key, known)
	setCookie(w, "login", key)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (known *login) askUserInfo(ctx context.Context) error {
	userInfo, err := broker.UserInfo(ctx, oauth2.StaticTokenSource(known.tokens))
	if err != nil {
		return err
	}
	if userInfo.Subject != known.subject {
		return errors.New("userinfo is about somebody else")
	}
	return userInfo.Claims(&known.UserInfo)
}

func refresh(w http.ResponseWriter, r *http.Request) {
	key, known := current(r)
	if known == nil {
		refuse(w, "not logged in")
		return
	}
	next := *known
	var err error
	// A token source that has nothing but the refresh token uses it at once.
	source := config.TokenSource(r.Context(), &oauth2.Token{RefreshToken: known.tokens.RefreshToken})
	if next.tokens, err = source.Token(); err != nil {
		refuse(w, err.Error())
		return
	}
	if err = next.askUserInfo(r.Context()); err != nil {
		refuse(w, err.Error())
		return
	}
	logins.Store(key, &next) // the old refresh token is spent
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func logout(w http.ResponseWriter, r *http.Request) {
	asked := url.Values{"client_id": {config.ClientID}}
	if key, known := current(r); known != nil {
		asked.Set("id_token_hint", known.idToken)
		asked.Set("post_logout_redirect_uri", site+"/")
		logins.Delete(key)
	}
	setCookie(w, "login", "")
	http.Redirect(w, r, metadata.EndSession+"?"+asked.Encode(), http.StatusSeeOther)
}

func current(r *http.Request) (string, *login) {
	cookie, err := r.Cookie("login")
	if err != nil {
		return "", nil
	}
	found, _ := logins.Load(cookie.Value)
	known, _ := found.(*login)
	return cookie.Value, known
}

func setCookie(w http.ResponseWriter, name, value string) {
	cookie := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

func refuse(w http.ResponseWriter, why string) {
	http.Error(w, "refused: "+why, http.StatusBadRequest)
}
