package pkgmgrtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"testing"
)

func fileDigest(t *testing.T, path string) (sum string, size int64) {
	t.Helper()
	body, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(body)), int64(len(body))
}
