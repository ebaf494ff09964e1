package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nicholas-fedor/shoutrrr/pkg/router"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/discord"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/rocketchat"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/chat/slack"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/push/pushover"
	"github.com/nicholas-fedor/shoutrrr/pkg/services/specialized/generic"
	"github.com/nicholas-fedor/shoutrrr/pkg/types"

	"assent/fault"
	"assent/ledger"
)

// chat sends messages to the services that shoutrrr knows how to talk to. Only those are taken whose requests go
// through our guarded client, and Teams, whose requests go nowhere but to Microsoft.
type chat struct{ http *http.Client }

// chats are the services that are taken, with how text is made harmless for each.
func chats() map[string]func(string) string {
	return map[string]func(string) string{"slack": slackText, "teams": teamsText, "discord": lookalikes, "mattermost": lookalikes, "rocketchat": lookalikes,
		"ntfy": lookalikes, "gotify": lookalikes, "pushover": lookalikes, "generic": lookalikes}
}

// chatName is the service that a secret address belongs to.
func chatName(secret string) (string, *url.URL, error) {
	u, err := url.Parse(strings.TrimSpace(secret))
	if err != nil {
		return "", nil, fault.New(fault.Invalid, "channel_secret", "The address of a chat cannot be read.").On("secret")
	}
	service, _, _ := strings.Cut(strings.ToLower(u.Scheme), "+")
	if chats()[service] == nil {
		return "", nil, fault.New(fault.Invalid, "channel_secret", "The address of a chat begins with one of %s, followed by ://.", strings.Join(slices.Sorted(maps.Keys(chats())), ", ")).On("secret")
	}
	return service, u, nil
}

// locate makes the service of a secret address.
func locate(secret string) (types.Service, error) {
	r, err := router.New(silentLog{})
	if err != nil {
		return nil, fmt.Errorf("prepare the chat: %w", err)
	}
	return r.Locate(strings.TrimSpace(secret))
}

// silentLog drops what the library logs: it may hold addresses.
type silentLog struct{}

func (silentLog) Print(...any)          {}
func (silentLog) Printf(string, ...any) {}
func (silentLog) Println(...any)        {}

func (h chat) check(_ ledger.Channel, secret string) error {
	service, u, err := chatName(secret)
	if err != nil {
		return err
	}
	if _, err := locate(secret); err != nil {
		return fault.New(fault.Invalid, "channel_secret", "This is no address of %s: %s.", service, strings.TrimRight(plain(redacted(err.Error(), u), maxDetail), ".")).On("secret")
	}
	return nil
}

func (h chat) send(ctx context.Context, _ ledger.Channel, secret, id string, m message) error {
	name, address, err := chatName(secret)
	if err != nil {
		return err
	}
	service, err := locate(secret)
	if err != nil {
		return errors.New(redacted(err.Error(), address))
	}
	text := m.text(chats()[name])
	switch own := service.(type) {
	case *slack.Service:
		err = h.slack(ctx, own, text)
	case *generic.Service:
		err = h.generic(ctx, own, text, id)
	default:
		err = h.library(ctx, service, text)
	}
	if err != nil {
		return chatError{redacted(without(err).Error(), address), err}
	}
	return nil
}

// chatError is a failure whose text tells nothing of the secret.
type chatError struct {
	text  string
	cause error
}

func (e chatError) Error() string { return e.text }

// Is tells a refusal from other failures, without showing the cause.
func (e chatError) Is(target error) bool {
	return target == errRefused && errors.Is(e.cause, errRefused)
}

// request makes a POST of JSON.
func request(ctx context.Context, address string, body []byte) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, without(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "assent")
	return r, nil
}

// slackAPI is where messages with a bot's token go.
const slackAPI = "https://slack.com/api/chat.postMessage"

// slack posts what the library made of the text: its own client follows redirects.
func (h chat) slack(ctx context.Context, s *slack.Service, text string) error {
	body, err := json.Marshal(slack.CreateJSONPayload(s.Config, text))
	if err != nil {
		return fmt.Errorf("encode the message: %w", err)
	}
	address := slackAPI
	if !s.Config.Token.IsAPIToken() {
		address = s.Config.Token.WebhookURL()
	}
	r, err := request(ctx, address, body)
	if err != nil {
		return err
	}
	if !s.Config.Token.IsAPIToken() {
		return post(h.http, r)
	}
	r.Header.Set("Authorization", s.Config.Token.Authorization())
	res, err := h.http.Do(r)
	if err != nil {
		return without(err)
	}
	defer res.Body.Close()
	if err := answered(res.StatusCode); err != nil {
		return err
	}
	var said slack.APIResponse
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&said); err != nil {
		return fmt.Errorf("read what Slack answers: %w", err)
	}
	if !said.Ok {
		return fmt.Errorf("Slack answers %s", plain(said.Error, maxName)) //nolint:staticcheck // a name
	}
	return nil
}

// generic posts JSON that the address describes.
func (h chat) generic(ctx context.Context, s *generic.Service, text, id string) error {
	payload, err := s.GetPayload(s.Config, types.Params{s.Config.MessageKey: text, s.Config.TitleKey: "Assent"})
	if err != nil {
		return fmt.Errorf("make the message: %w", err)
	}
	body, err := io.ReadAll(payload)
	if err != nil {
		return fmt.Errorf("make the message: %w", err)
	}
	r, err := request(ctx, s.Config.WebhookURL().String(), body)
	if err != nil {
		return err
	}
	if s.Config.Template == "" {
		r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	r.Header.Set("webhook-id", id)
	return post(h.http, r)
}

// libraryPatience is how long the library may take. What it does longer is left behind, and ends with its own bounds.
const libraryPatience = 30 * time.Second

// library has the library send, with our client where it takes one.
func (h chat) library(ctx context.Context, service types.Service, text string) error {
	h.equip(service)
	ctx, cancel := context.WithTimeout(ctx, libraryPatience)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- errors.New("the chat's library failed")
			}
		}()
		done <- service.Send(text, &types.Params{"title": "Assent"})
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("the chat does not answer: %w", ctx.Err())
	}
}

// equip gives a service our client.
func (h chat) equip(service types.Service) {
	switch s := service.(type) {
	case *discord.Service:
		s.HTTPClient = h.http
	case *rocketchat.Service:
		s.Client = h.http
	case *pushover.Service:
		s.Client = h.http
	case interface{ SetHTTPClient(client *http.Client) }: // ntfy
		s.SetHTTPClient(h.http)
	case interface{ GetHTTPClient() *http.Client }: // gotify, mattermost
		*s.GetHTTPClient() = *h.http
	}
}
