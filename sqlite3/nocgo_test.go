package sqlite3_test

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWithoutCgoTheDriverSaysWhatIsMissing(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "nocgo")
	build := osexec.Command("go", "build", "-o", bin, "./testdata/nocgo")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = osexec.Command(bin).CombinedOutput()
	require.NoError(t, err, string(out))
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	require.Len(t, lines, 3, string(out))
	plain := lines[2]
	require.Contains(t, plain, "cgo")
	require.Equal(t, []string{plain, plain, plain}, lines)
}
