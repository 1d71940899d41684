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

// libcSync has sync(1) call fsync for a file; nil where there is none, or no C compiler.
func libcSync(t *testing.T, d Disk, name string) func() error {
	shim, err := Build(filepath.Dir(d.Folder))
	if errors.Is(err, ErrUnsupported) {
		return nil
	}
	require.NoError(t, err)
	d.Shim = shim
	program, err := exec.LookPath("sync")
	if err != nil {
		return nil
	}
	return func() error {
		cmd := exec.Command(program, name)
		cmd.Env = d.Env()
		return cmd.Run()
	}
}

func TestASyncOfLibcIsKeptInTheShadowOrFails(t *testing.T) {
	d := made(t)
	name := filepath.Join(d.Folder, "a")
	toDisk := libcSync(t, d, name)
	if toDisk == nil {
		t.Skip("it needs a C compiler and sync(1)")
	}
	sync := func(content string) error {
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		return toDisk()
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
