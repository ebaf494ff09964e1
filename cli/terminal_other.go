//go:build !unix

package cli

import "os"

// terminal knows no terminals here: output is plain.
func terminal(*os.File) (width int, ok bool) { return 0, false }
