package s3

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"assent/content"
	"assent/content/contenttest"
)

// noise is always the same for a size and a seed.
func noise(size int, seed byte) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// unfinished counts the uploads that are neither complete nor given up.
func unfinished(t *testing.T, s *Store) int {
	t.Helper()
	page, err := s.unfinished(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Uploads)
}

// empty checks that a store has neither files nor parts of any.
func empty(t *testing.T, s *Store) {
	t.Helper()
	for info, err := range s.List(t.Context()) {
		t.Errorf("listed: %+v, %v", info, err)
	}
	if n := unfinished(t, s); n != 0 {
		t.Errorf("%d uploads are unfinished", n)
	}
}

func TestALargeFileGoesUpInPartsAndIsReadFromAnyPlace(t *testing.T) {
	s, _ := newStore(t)
	b := noise(3*partSize+12345, 1)
	digest := contenttest.Put(t, s, b)
	if !bytes.Equal(contenttest.Get(t, s, digest), b) {
		t.Error("other bytes came back")
	}
	f, err := s.Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := iotest.TestReader(io.NewSectionReader(readerAt{f}, partSize-1000, 2000), b[partSize-1000:partSize+1000]); err != nil {
		t.Error(err)
	}
	for _, at := range []int64{2*partSize - 3, 5, 100, 300_000, f.Size() - 1, 0} {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, min(10, f.Size()-at))
		if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, b[at:at+int64(len(got))]) {
			t.Errorf("from %d came %x, %v", at, got, err)
		}
	}
	if n := unfinished(t, s); n != 0 {
		t.Errorf("%d uploads are unfinished", n)
	}
}

type readerAt struct{ f content.File }

func (r readerAt) ReadAt(p []byte, at int64) (int, error) {
	if _, err := r.f.Seek(at, io.SeekStart); err != nil {
		return 0, err
	}
	return io.ReadFull(r.f, p)
}

func TestALargeFileThatIsNotTheAnnouncedOneNeverAppears(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	b := noise(2*partSize+100, 2)
	other := bytes.Clone(b)
	other[len(other)-1]++ // found out with the last byte, when all parts are there
	cut := errors.New("the connection broke")
	for what, c := range map[string]struct {
		r    io.Reader
		want error
	}{
		"another":           {bytes.NewReader(other), content.ErrMismatch},
		"a longer":          {io.MultiReader(bytes.NewReader(b), bytes.NewReader([]byte{1})), content.ErrMismatch},
		"shorter":           {bytes.NewReader(b[:len(b)-1]), content.ErrMismatch},
		"shorter by a part": {bytes.NewReader(b[:2*partSize]), content.ErrMismatch},
		"torn":              {io.MultiReader(bytes.NewReader(b[:partSize+5]), iotest.ErrReader(cut)), cut},
	} {
		if err := s.Put(t.Context(), c.r, int64(len(b)), content.Digest(b)); !errors.Is(err, c.want) {
			t.Errorf("%s file: %v, want %v", what, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ends := io.MultiReader(bytes.NewReader(b[:partSize+5]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }))
	if err := s.Put(ctx, ends, int64(len(b)), content.Digest(b)); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
	empty(t, s)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The program that is killed while it puts: this test binary, told so by its environment.
const putterEnv = "ASSENT_TEST_PUTTER"

// putForever puts a file that never ends, and says when two parts of it were read.
func putForever() {
	var c Config
	if err := json.Unmarshal([]byte(os.Getenv(putterEnv)), &c); err != nil {
		panic(err)
	}
	s, err := Open(context.Background(), c)
	if err != nil {
		panic(err)
	}
	b := noise(4*partSize, 3)
	waits := readerFunc(func([]byte) (int, error) {
		fmt.Println("sent")
		select {}
	})
	panic(s.Put(context.Background(), io.MultiReader(bytes.NewReader(b[:3*partSize]), waits), int64(len(b)), content.Digest(b)))
}

// TestN49_AServerThatIsKilledWhileItPutsLeavesNothingThatIsSeen, and a sweep gives up the parts.
func TestN49_AServerThatIsKilledWhileItPutsLeavesNothingThatIsSeen(t *testing.T) {
	t.Parallel()
	c, _ := newConfig(t, storage)
	s := openStore(t, c)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	putter := exec.Command(os.Args[0])
	putter.Env = append(os.Environ(), putterEnv+"="+string(text))
	putter.Stderr = os.Stderr
	out, err := putter.StdoutPipe()
	if err == nil {
		err = putter.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "sent\n" {
		t.Errorf("it said %q, %v", line, err)
	}
	putter.Process.Kill()
	putter.Wait()

	digest := content.Digest(noise(4*partSize, 3))
	if has, err := s.Has(t.Context(), digest); has || err != nil {
		t.Errorf("Has = %v, %v", has, err)
	}
	if n := unfinished(t, s); n != 1 {
		t.Fatalf("%d uploads are unfinished: the test proves nothing", n)
	}
	none := func(string) bool { return false }
	if _, err := s.Sweep(t.Context(), time.Now().Add(-time.Hour), none); err != nil || unfinished(t, s) != 1 {
		t.Errorf("an upload that may still go on was given up: %v", err)
	}
	if _, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), none); err != nil {
		t.Error(err)
	}
	empty(t, s)
	contenttest.Put(t, s, noise(4*partSize, 3))
}

// TestTwoServersPutOneLargeFileAtTheSameTime: the later one finds it there, and replaces nothing.
func TestTwoServersPutOneFileAtTheSameTime(t *testing.T) {
	for what, size := range map[string]int{"a small one": 1000, "a large one": 2*partSize + 7} {
		t.Run(what, func(t *testing.T) {
			c, b := newConfig(t, storage)
			one, two := openStore(t, c), openStore(t, c)
			file := noise(size, 4)
			started, finish := make(chan struct{}), make(chan struct{})
			slow := io.MultiReader(bytes.NewReader(file[:10]), readerFunc(func([]byte) (int, error) {
				close(started)
				<-finish
				return 0, io.EOF
			}), bytes.NewReader(file[10:]))
			late := make(chan error)
			go func() { late <- one.Put(t.Context(), slow, int64(size), content.Digest(file)) }()
			<-started
			digest := contenttest.Put(t, two, file)
			at := filepath.Join(b.Dir, "assent", digest)
			before, err := os.Stat(at)
			if err != nil {
				t.Fatal(err)
			}
			close(finish)
			if err := <-late; err != nil {
				t.Errorf("the later one: %v", err)
			}
			after, err := os.Stat(at)
			if err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
				t.Errorf("it was replaced (%v)", err)
			}
			if n := unfinished(t, one); n != 0 {
				t.Errorf("%d uploads are unfinished", n)
			}
			if !bytes.Equal(contenttest.Get(t, one, digest), file) {
				t.Error("other bytes came back")
			}
		})
	}
}

func TestManyPutOneLargeFileAtTheSameTime(t *testing.T) {
	t.Parallel()
	s, _ := newStore(t)
	b := noise(2*partSize, 5)
	var wg sync.WaitGroup
	for range 6 { // more than the memory for putting lets in at once
		wg.Go(func() {
			if err := s.Put(t.Context(), bytes.NewReader(b), int64(len(b)), content.Digest(b)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(contenttest.Get(t, s, content.Digest(b)), b) || unfinished(t, s) != 0 {
		t.Error("other bytes came back, or uploads are unfinished")
	}
}

// age has an object be as old as two days.
func age(t *testing.T, at string) {
	t.Helper()
	old := time.Now().Add(-48 * time.Hour)
	if err := os.Chtimes(at, old, old); err != nil {
		t.Fatal(err)
	}
}

func TestAFileThatIsPutAgainCountsAsPutNow(t *testing.T) {
	s, b := newStore(t)
	again, gone := contenttest.Put(t, s, []byte("again")), contenttest.Put(t, s, []byte("gone"))
	age(t, filepath.Join(b.Dir, "assent", again))
	age(t, filepath.Join(b.Dir, "assent", gone))
	contenttest.Put(t, s, []byte("again"))
	freed, err := s.Sweep(t.Context(), time.Now().Add(-24*time.Hour), func(string) bool { return false })
	if err != nil || freed != 4 {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	if has, err := s.Has(t.Context(), again); !has || err != nil {
		t.Errorf("what another server had just put was swept: %v", err)
	}
}

// TestWhatIsPutAgainWhileASweepLooksStays: another server puts the file between the sweep's list and its removal.
func TestWhatIsPutAgainWhileASweepLooksStays(t *testing.T) {
	s, b := newStore(t)
	digest := contenttest.Put(t, s, []byte("needed again"))
	age(t, filepath.Join(b.Dir, "assent", digest))
	putAgain := func(string) bool {
		contenttest.Put(t, s, []byte("needed again"))
		return false
	}
	if freed, err := s.Sweep(t.Context(), time.Now().Add(-24*time.Hour), putAgain); err != nil || freed != 0 {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	contenttest.Get(t, s, digest)
}

func TestAnObjectOfAnotherSizeIsReplacedAndOtherObjectsAreNoFiles(t *testing.T) {
	s, b := newStore(t)
	digest := contenttest.Put(t, s, []byte("the right one"))
	other := content.Digest([]byte("elsewhere"))
	if err := os.WriteFile(filepath.Join(b.Dir, "assent", digest), []byte("truncat"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{other, "assent/notes.txt", "assent/sub/" + other, "assent-other/" + other} {
		at := filepath.Join(b.Dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte("foreign"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	contenttest.Put(t, s, []byte("the right one"))
	if got := string(contenttest.Get(t, s, digest)); got != "the right one" {
		t.Errorf("got %q", got)
	}
	n := 0
	for info, err := range s.List(t.Context()) {
		if n++; err != nil || info.SHA256 != digest {
			t.Errorf("%+v, %v", info, err)
		}
	}
	if n != 1 {
		t.Errorf("%d files are listed", n)
	}
	if _, err := s.Sweep(t.Context(), time.Now().Add(time.Hour), func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(b.Dir, other)); err != nil {
		t.Errorf("a sweep removed what is not the store's: %v", err)
	}
}
