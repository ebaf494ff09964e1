package gateway

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"time"
)

// sheet is the answer to a request that is over for net/http: an http.ResponseWriter that is sent whole, in one record of TLS
// if it is as small as most.
type sheet struct {
	to     *tls.Conn
	header http.Header
	status int
	body   []byte
}

func newSheet(to *tls.Conn) *sheet {
	return &sheet{to: to, header: http.Header{}, status: http.StatusOK}
}

// Header implements http.ResponseWriter.
func (s *sheet) Header() http.Header { return s.header }

// WriteHeader implements http.ResponseWriter.
func (s *sheet) WriteHeader(status int) { s.status = status }

// Write implements http.ResponseWriter.
func (s *sheet) Write(p []byte) (int, error) {
	s.body = append(s.body, p...)
	return len(p), nil
}

// SetWriteDeadline is for http.ResponseController. send lifts it.
func (s *sheet) SetWriteDeadline(t time.Time) error { return s.to.SetWriteDeadline(t) }

// SetReadDeadline is for http.ResponseController: the request was read, and nothing is left of it.
func (s *sheet) SetReadDeadline(time.Time) error { return nil }

// send writes the answer to the connection. After the last one the connection is to be closed.
func (s *sheet) send(last bool) error {
	s.header.Del("Content-Length") // Response has it
	s.header["Date"] = []string{time.Now().UTC().Format(http.TimeFormat)}
	answer := http.Response{ProtoMajor: 1, ProtoMinor: 1, StatusCode: s.status, Header: s.header, Close: last,
		ContentLength: int64(len(s.body)), Body: io.NopCloser(bytes.NewReader(s.body))}
	var text bytes.Buffer
	if err := answer.Write(&text); err != nil {
		return err
	}
	if _, err := s.to.Write(text.Bytes()); err != nil {
		return err
	}
	return s.to.SetWriteDeadline(time.Time{})
}
