package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"assent/fault"
	"assent/ledger"
)

// secretPrefix begins the secrets of webhooks, as Standard Webhooks has it.
const secretPrefix = "whsec_"

// newSecret makes the secret of a webhook.
func newSecret() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails; see crypto/rand
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// hookKey is the key in a webhook's secret.
func hookKey(secret string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil || !strings.HasPrefix(secret, secretPrefix) || len(key) < 24 || len(key) > 64 {
		return nil, fault.New(fault.Invalid, "channel_secret", "The secret of a webhook is %s and 24 to 64 bytes in base64; leave it out and the server makes one.", secretPrefix).On("secret")
	}
	return key, nil
}

// sign signs a message as Standard Webhooks has it.
func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// webhook posts messages as JSON with a signature.
type webhook struct {
	http *http.Client
	now  func() time.Time
}

func (w webhook) check(c ledger.Channel, secret string) error {
	u, err := url.Parse(c.Address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return fault.New(fault.Invalid, "channel_address", "The address of a webhook is https://… or http://… .").On("address")
	}
	if u.User != nil || u.Fragment != "" {
		return fault.New(fault.Invalid, "channel_address", "The address of a webhook holds no user, password or fragment: it is no secret, and messages are signed.").On("address")
	}
	_, err = hookKey(secret)
	return err
}

func (w webhook) send(ctx context.Context, c ledger.Channel, secret, id string, m message) error {
	key, err := hookKey(secret)
	if err != nil {
		return err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Address, bytes.NewReader(body))
	if err != nil {
		return without(err)
	}
	now := w.now()
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "assent")
	r.Header.Set("webhook-id", id)
	r.Header.Set("webhook-timestamp", strconv.FormatInt(now.Unix(), 10))
	r.Header.Set("webhook-signature", sign(key, id, now, body))
	return post(w.http, r)
}

// post sends a request and says what the answer means.
func post(client *http.Client, r *http.Request) error {
	res, err := client.Do(r)
	if err != nil {
		return without(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // so that the connection can be used again; the answer is its status
	return answered(res.StatusCode)
}
