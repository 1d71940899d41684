package groupcommit_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/groupcommit/groupcommit"

// rooms reads the list of rooms in ARCHITECTURE.md: what each may import, and their order.
func rooms(t *testing.T) (may map[string][]string, order []string) {
	page, err := os.ReadFile("ARCHITECTURE.md")
	require.NoError(t, err)
	_, list, ok := strings.Cut(string(page), "```rooms\n")
	require.True(t, ok, "ARCHITECTURE.md has no list of rooms")
	list, _, _ = strings.Cut(list, "```")
	may = make(map[string][]string)
	for line := range strings.Lines(list) {
		room, imports, _ := strings.Cut(strings.TrimSpace(line), "<")
		name := strings.Fields(room)[0]
		may[name] = strings.Fields(imports)
		order = append(order, name)
	}
	return may, order
}

// importsOf returns what each package of the library imports of the library, by their names in the list.
func importsOf(t *testing.T) map[string][]string {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	imports := make(map[string][]string)
	for d := json.NewDecoder(bufio.NewReader(bytes.NewReader(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err == io.EOF {
			return imports
		} else if err != nil {
			t.Fatal(err)
		}
		name := nameOf(p.ImportPath)
		imports[name] = nil
		for _, i := range p.Imports {
			if i == module || strings.HasPrefix(i, module+"/") {
				imports[name] = append(imports[name], nameOf(i))
			}
		}
	}
}

func nameOf(path string) string {
	if path == module {
		return "."
	}
	return strings.TrimPrefix(path, module+"/")
}

// forTests are the packages that tests, examples and tools are made of. They may import whatever they like, and no room
// imports one.
func forTests(name string) bool {
	for _, p := range []string{"internal/benchtest", "internal/bounded", "internal/difftest", "internal/disk", "internal/enginetest", "internal/pgtest", "internal/powertest", "examples", "bench", "sqlxbind"} {
		if name == p || strings.HasPrefix(name, p+"/") {
			return true
		}
	}
	return false
}

func TestARoomImportsNothingButWhatTheMapSays(t *testing.T) {
	may, _ := rooms(t)
	imports := importsOf(t)
	for name, of := range imports {
		if forTests(name) {
			continue
		}
		if !assert.Contains(t, may, name, "ARCHITECTURE.md does not know the package") {
			continue
		}
		for _, i := range of {
			assert.Contains(t, may[name], i, "%s imports it, and ARCHITECTURE.md does not say so", name)
		}
		for _, i := range may[name] {
			assert.Contains(t, of, i, "%s does not import it, and ARCHITECTURE.md says so", name)
		}
	}
	for name := range may {
		assert.Contains(t, imports, name, "ARCHITECTURE.md has a room that is not there")
	}
}

func TestARoomImportsOnlyWhatStandsAboveIt(t *testing.T) {
	may, order := rooms(t)
	above := make(map[string]bool)
	for _, name := range order {
		for _, i := range may[name] {
			assert.True(t, above[i], "%s may import %s, which does not stand above it", name, i)
		}
		above[name] = true
	}
}
