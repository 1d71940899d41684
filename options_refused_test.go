package groupcommit

import (
	"fmt"
	"os"
	osexec "os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCompilerRefusesAnOptionWhereItDoesNotBelong(t *testing.T) {
	const program = "testdata/options/main.go"
	text, err := os.ReadFile(program)
	require.NoError(t, err)
	var want []string
	for i, line := range strings.Split(string(text), "\n") {
		if strings.HasSuffix(line, "// refused") {
			want = append(want, fmt.Sprint(i+1))
		}
	}
	require.Len(t, want, 17)
	out, err := osexec.Command("go", "build", "-o", os.DevNull, "-gcflags=-e", program).CombinedOutput() // -e: all errors
	require.ErrorAs(t, err, new(*osexec.ExitError))
	var refused []string
	for _, e := range regexp.MustCompile(`(?m)main\.go:(\d+):\d+: cannot use .* does not implement`).FindAllStringSubmatch(string(out), -1) {
		refused = append(refused, e[1])
	}
	require.Equal(t, want, refused, "%s", out)
	require.Equal(t, len(want), strings.Count(string(out), "main.go:"), "there is no other error: %s", out)
}
