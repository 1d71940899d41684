package disk

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// made is a disk in a folder of the test's, without a shim.
func made(t *testing.T) Disk {
	folder, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	d := Disk{Folder: filepath.Join(folder, "disk"), Shadow: filepath.Join(folder, "shadow"), Fails: filepath.Join(folder, "fails")}
	require.NoError(t, os.Mkdir(d.Folder, 0o700))
	require.NoError(t, os.Mkdir(d.Shadow, 0o700))
	return d
}

func TestASyncOfGoCodeIsKeptInTheShadowOrFails(t *testing.T) {
	d := made(t)
	f, err := os.Create(filepath.Join(d.Folder, "a"))
	require.NoError(t, err)
	defer f.Close()
	synced := func() string {
		b, err := d.Synced("a")
		require.NoError(t, err)
		return string(b)
	}
	_, err = f.WriteString("one")
	require.NoError(t, err)
	assert.Empty(t, synced())
	require.NoError(t, d.Fdatasync(f))
	_, err = f.WriteString(", two")
	require.NoError(t, err)
	assert.Equal(t, "one", synced())
	require.NoError(t, os.WriteFile(d.Fails, nil, 0o600))
	assert.ErrorIs(t, d.Fdatasync(f), syscall.EIO)
	assert.Equal(t, "one", synced())
	require.NoError(t, os.Remove(d.Fails))
	require.NoError(t, d.Fdatasync(f))
	assert.Equal(t, "one, two", synced())
}
