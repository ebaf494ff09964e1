package lab

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// output runs a host tool and returns what it wrote, with its complaint in the error.
func output(ctx context.Context, stdin, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(tail(stderr.String(), 2000)))
	}
	return stdout.String(), nil
}

// ip runs a batch of ip(8) commands; an empty netns is the caller's own.
func ip(ctx context.Context, netns string, lines ...string) error {
	args := []string{"-batch", "-"}
	if netns != "" {
		args = append([]string{"-n", netns}, args...)
	}
	_, err := output(ctx, strings.Join(lines, "\n")+"\n", "ip", args...)
	return err
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}
