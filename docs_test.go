package groupcommit

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheListOfOptionsHasAllThatADataSourceNameMayHold(t *testing.T) {
	list, err := os.ReadFile("docs/options.md")
	require.NoError(t, err)
	for _, name := range dsnOptions {
		assert.Contains(t, string(list), "| `"+name+"` |")
	}
}
