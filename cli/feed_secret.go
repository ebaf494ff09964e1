package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"assent/fault"
	"assent/trust/publish"
)

// secretFlags say where passphrases of keys come from.
type secretFlags struct {
	file    string
	encrypt bool
}

func (s *secretFlags) register(f *pflag.FlagSet, making bool) {
	f.StringVar(&s.file, "passphrase-file", "", "file with the passphrase that seals the private keys")
	if making {
		f.BoolVar(&s.encrypt, "encrypt", false, "seal new private keys under a passphrase")
	}
}

// secret opens keys: from the file, or by asking once.
func (a *app) secret(s secretFlags) publish.Secret {
	var known []byte
	return func(what string) ([]byte, error) {
		if known != nil {
			return known, nil
		}
		var err error
		switch {
		case s.file != "":
			known, err = passphraseFile(s.file)
		case a.Ask && !a.json:
			known, err = a.ask("Passphrase of " + clean(what) + ": ")
		default:
			err = usage("%s is sealed and nobody can be asked; give --passphrase-file", clean(what))
		}
		return known, err
	}
}

// newSecret seals new keys; nil if they are to be kept in clear. Who is asked is asked twice.
func (a *app) newSecret(s secretFlags) (publish.Secret, error) {
	if !s.encrypt && s.file == "" {
		return nil, nil
	}
	if s.file != "" || !a.Ask || a.json {
		return a.secret(s), nil
	}
	first, err := a.ask("Passphrase for the new keys: ")
	if err != nil {
		return nil, err
	}
	again, err := a.ask("The same again: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, again) {
		return nil, usage("these were two passphrases; nothing was made")
	}
	return func(string) ([]byte, error) { return first, nil }, nil
}

func passphraseFile(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fault.New(fault.Invalid, "passphrase_unreadable", "The passphrase cannot be read: %v.", err)
	}
	return sound(bytes.TrimRight(b, "\r\n"))
}

func sound(pass []byte) ([]byte, error) {
	if len(pass) < 8 || len(pass) > 1024 {
		return nil, usage("a passphrase has 8 to 1024 bytes")
	}
	return pass, nil
}

// ask reads one line that is not shown.
func (a *app) ask(question string) ([]byte, error) {
	fmt.Fprint(a.Err, question)
	defer fmt.Fprintln(a.Err)
	if f, ok := a.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b, err := term.ReadPassword(int(f.Fd()))
		if err != nil {
			return nil, fmt.Errorf("read the passphrase: %w", err)
		}
		return sound(b)
	}
	line, err := bufio.NewReader(io.LimitReader(a.In, 2048)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the passphrase: %w", err)
	}
	return sound([]byte(strings.TrimRight(line, "\r\n")))
}

// progress tells a person at a terminal how far a large file is, at most ten times a second.
func (a *app) progress() publish.Progress {
	const large = 16 << 20
	if a.Width == 0 || a.json {
		return nil
	}
	var last time.Time
	return func(file string, done, total int64) {
		if now := a.Now(); total >= large && now.Sub(last) > 100*time.Millisecond {
			last = now
			name := file[:min(len(file), 40)]
			fmt.Fprintf(a.Err, "\r\x1b[K%s  %s of %s (%d %%)", clean(name), size(done), size(total), done*100/total)
		}
	}
}

// progressDone clears the line.
func (a *app) progressDone() {
	if a.Width != 0 && !a.json {
		fmt.Fprint(a.Err, "\r\x1b[K")
	}
}
