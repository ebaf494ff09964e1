package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"

	"assent/wire"
)

// listen serves the device protocol over mutual TLS 1.3 and returns the address.
func (s *simServer) listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return s.serve(t, l)
}

// serve is listen on a listener of the caller's.
func (s *simServer) serve(t *testing.T, plain net.Listener) string {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(s.ca)
	conf := &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients,
		Certificates: []tls.Certificate{{Certificate: [][]byte{s.leaf(pub, false, s.life), s.caDER}, PrivateKey: key}}}
	srv := &http.Server{Handler: s.later(s.handler()), ErrorLog: log.New(io.Discard, "", 0)}
	go srv.Serve(tls.NewListener(plain, conf))
	t.Cleanup(func() { srv.Close() })
	return "https://" + plain.Addr().String()
}

func (s *simServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.PathEnrol, func(w http.ResponseWriter, r *http.Request) {
		var m wire.EnrolRequest
		if !receive(w, r, &m) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if m.Token != s.token.String() {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"code":"token_unknown","message":"This token is not known."}`)
			return
		}
		resp, err := s.grant(m.CSR)
		send(w, resp, err)
	})
	mux.HandleFunc("POST "+wire.PathRenew, s.known(func(w http.ResponseWriter, r *http.Request) {
		var m wire.RenewRequest
		if receive(w, r, &m) {
			resp, err := s.Renew(r.Context(), m.CSR)
			send(w, resp, err)
		}
	}))
	mux.HandleFunc("POST "+wire.PathCheckIn, s.known(func(w http.ResponseWriter, r *http.Request) {
		var m wire.CheckIn
		if receive(w, r, &m) {
			resp, err := s.CheckIn(r.Context(), m)
			send(w, resp, err)
		}
	}))
	mux.HandleFunc("POST "+wire.PathReports, s.known(func(w http.ResponseWriter, r *http.Request) {
		var m wire.Reports
		if receive(w, r, &m) {
			ids, err := s.Report(r.Context(), m.Reports)
			send(w, wire.ReportsReply{Applied: ids}, err)
		}
	}))
	mux.HandleFunc("POST "+wire.PathRehearsal, s.known(func(w http.ResponseWriter, r *http.Request) {
		var m wire.Rehearsal
		if receive(w, r, &m) {
			send(w, struct{}{}, s.Rehearsal(r.Context(), m))
		}
	}))
	mux.HandleFunc("POST "+wire.PathLeave, s.known(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.fail != nil {
			send(w, nil, s.fail)
			return
		}
		s.left++
		w.WriteHeader(http.StatusNoContent)
	}))
	mux.HandleFunc("GET "+wire.PathFeed+"/{feed}/{path...}", s.known(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		dir, ok := s.copies[r.PathValue("feed")]
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeFileFS(w, r, os.DirFS(dir), r.PathValue("path"))
	}))
	mux.HandleFunc("PUT "+wire.PathDocument+"/{kind}/{digest}", s.known(func(w http.ResponseWriter, r *http.Request) {
		body, err := unzstd(r)
		if err == nil {
			err = s.Upload(r.Context(), wire.Kind(r.PathValue("kind")), r.PathValue("digest"), body)
		}
		send(w, struct{}{}, err)
	}))
	mux.HandleFunc("GET "+wire.PathPlan+"/{digest}", s.known(func(w http.ResponseWriter, r *http.Request) {
		body, err := s.Plan(r.Context(), r.PathValue("digest"))
		if err != nil {
			send(w, nil, err)
			return
		}
		enc, _ := zstd.NewWriter(nil)
		w.Header().Set("Content-Encoding", "zstd")
		w.Write(enc.EncodeAll(body, nil))
	}))
	return mux
}

// later adds to each answer what only a later version would say.
func (s *simServer) later(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.future || r.Method == http.MethodGet {
			next.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		if bytes.HasPrefix(body, []byte(`{"`)) {
			body = append([]byte(`{"from_the_future":{"list":[1,"two"]},`), body[1:]...)
		}
		w.WriteHeader(rec.Code)
		w.Write(body)
	})
}

// known lets only devices with a certificate in.
func (s *simServer) known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func unzstd(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "zstd" {
		return io.ReadAll(r.Body)
	}
	dec, err := zstd.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	return io.ReadAll(dec)
}

func receive(w http.ResponseWriter, r *http.Request, into any) bool {
	b, err := unzstd(r)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func send(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	json.NewEncoder(w).Encode(v)
}
