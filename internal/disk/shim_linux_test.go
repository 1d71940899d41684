package disk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestASyncOfLibcIsKeptInTheShadowOrFails has sync(1) call fsync.
func TestASyncOfLibcIsKeptInTheShadowOrFails(t *testing.T) {
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	shim, err := Build(folder)
	if errors.Is(err, ErrUnsupported) {
		t.Skipf("%v", err)
	}
	require.NoError(t, err)
	program, err := exec.LookPath("sync")
	if err != nil {
		t.Skipf("%v", err)
	}
	d := Disk{Folder: filepath.Join(folder, "disk"), Shadow: filepath.Join(folder, "shadow"), Fails: filepath.Join(folder, "fails"), Shim: shim}
	require.NoError(t, os.Mkdir(d.Folder, 0o700))
	require.NoError(t, os.Mkdir(d.Shadow, 0o700))
	name := filepath.Join(d.Folder, "a")
	sync := func(content string) error {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		cmd := exec.Command(program, name)
		cmd.Env = d.Env()
		return cmd.Run()
	}
	require.NoError(t, sync("one"))
	require.NoError(t, os.WriteFile(d.Fails, nil, 0o600))
	assert.Error(t, sync("two"))
	kept, err := d.Synced("a")
	require.NoError(t, err)
	assert.Equal(t, "one", string(kept))
	require.NoError(t, os.Remove(d.Fails))
	require.NoError(t, sync("three"))
	kept, err = d.Synced("a")
	require.NoError(t, err)
	assert.Equal(t, "three", string(kept))
}
