package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"assent/lab/chromium"
)

// securityKey puts a virtual authenticator that verifies its person into the browser. Browsers do passkeys at a name, so
// the tab goes on at localhost.
func (b *tab) securityKey() webauthn.AuthenticatorID {
	b.t.Helper()
	b.URL = strings.Replace(b.URL, "127.0.0.1", "localhost", 1)
	_, err := chromedp.Call(b.ctx, webauthn.Enable, webauthn.EnableParams{})
	must(b.t, err)
	made, err := chromedp.Call(b.ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
		IsUserVerified: true, AutomaticPresenceSimulation: true}})
	must(b.t, err)
	return made.AuthenticatorID
}

// pressed is a click on a passkey's button, which shows once the script has found out that passkeys can be used here.
func pressed(kind string) chromium.Step { return chromedp.Click(`[data-passkey="` + kind + `"]`) }

func (b *tab) signOut() {
	b.t.Helper()
	b.do(chromedp.Click(".who summary"))
	b.follow(chromedp.Click(`form[action="/sign-out"] button`))
}

// refusedPasskey tries to sign in with a passkey and returns what the page says about it.
func (b *tab) refusedPasskey() string {
	b.t.Helper()
	b.open("/sign-in")
	b.do(pressed("sign-in"))
	b.await(`!document.querySelector("[data-passkey-error]").hidden`)
	return js[string](b, `document.querySelector("[data-passkey-error]").textContent`)
}

// TestBrowser_PasskeysSignInConfirmAndAreRefusedWhenTheyMustBe goes the whole way of a first administrator, in a real
// browser with a virtual authenticator.
func TestBrowser_PasskeysSignInConfirmAndAreRefusedWhenTheyMustBe(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	key := b.securityKey()
	b.Expect("403 (Forbidden) " + b.URL + "/access/create") // the page that asks for a proof
	b.signIn(s.Access("root-d", time.Hour, true), "/devices")
	b.follow(chromedp.Click(`.ask a[href="/account/passkeys"]`))
	b.do(chromedp.SendKeys("[data-passkey-name]", "work laptop"), pressed("register"))
	b.await(`location.pathname === "/account" && document.querySelector('input[value="work laptop"]') && !document.querySelector(".ask")`)
	b.keep("account-passkeys")

	b.signOut()
	b.open("/sign-in?next=/queue")
	b.do(pressed("sign-in"))
	b.await(`location.pathname === "/queue"`)

	s.Wait(16 * time.Minute)
	b.open("/access")
	b.follow(chromedp.Click(`form[action="/access/create"] button`))
	b.await(`document.querySelector("#prove")`)
	b.keep("confirm")
	b.do(pressed("confirm"))
	b.await(`document.querySelector("#secret")?.textContent.startsWith("assent_")`) // the form that was sent went on
	b.open("/access")
	b.follow(chromedp.Click(`form[action="/access/create"] button`))
	b.await(`document.querySelector("#secret")`)

	b.signOut()
	verified := true
	_, err := chromedp.Call(b.ctx, webauthn.SetResponseOverrideBits, webauthn.SetResponseOverrideBitsParams{AuthenticatorID: key, IsBadUV: &verified})
	must(t, err)
	b.Expect("401 (Unauthorized)")
	if said := b.refusedPasskey(); !strings.Contains(said, "does not let you in") {
		t.Errorf("an authenticator that did not verify its person: %q", said)
	}
	_, err = chromedp.Call(b.ctx, webauthn.SetResponseOverrideBits, webauthn.SetResponseOverrideBitsParams{AuthenticatorID: key})
	must(t, err)
	have, err := chromedp.Call(b.ctx, webauthn.GetCredentials, webauthn.GetCredentialsParams{AuthenticatorID: key})
	must(t, err)
	if len(have.Credentials) != 1 || have.Credentials[0].RpID != "localhost" || strings.Contains(string(have.Credentials[0].UserHandle), "root") {
		t.Fatalf("the authenticator holds %+v", have.Credentials)
	}
	// A copy of the key that was made at the beginning.
	back := 0.0
	_, err = chromedp.Call(b.ctx, webauthn.SetCredentialProperties, webauthn.SetCredentialPropertiesParams{AuthenticatorID: key, CredentialID: have.Credentials[0].CredentialID, SignCount: &back})
	must(t, err)
	if said := b.refusedPasskey(); !strings.Contains(said, "does not let you in") {
		t.Errorf("a counter that went back: %q", said)
	}
	if e := s.LastEntry(); e.Kind != "passkey.remove" || e.By != "server" {
		t.Errorf("the ledger says %s by %s", e.Kind, e.By)
	}
}

// TestBrowser_APasswordIsSetAndSignsIn also shows that the page says where passkeys work, when it is not here.
func TestBrowser_APasswordIsSetAndSignsIn(t *testing.T) {
	s := newSite(t)
	b := s.chromium(t)
	b.open("/sign-in")
	b.await(`!document.querySelector("[data-passkey-elsewhere]").hidden && document.querySelector("[data-passkey]").hidden && !document.querySelector("details").open`)
	b.signIn(s.Access("root-a", time.Hour, true), "/")
	b.follow(chromedp.Click(`.ask a[href="/account/password"]`))
	b.do(chromedp.SendKeys("#password", passphrase), chromedp.SendKeys("#again", passphrase))
	b.follow(chromedp.Click(`form[action="/account/password"] button`))
	b.await(`location.pathname === "/account" && document.body.innerText.includes("The password is set")`)
	b.signOut()
	b.do(chromedp.SendKeys("#name", "root-a"), chromedp.SendKeys("#password", passphrase))
	b.follow(chromedp.Click(".sign-in button"))
	b.await(`location.pathname === "/" && document.querySelector("h1.page-title")`)
	b.keep("signed-in-by-password")
}
