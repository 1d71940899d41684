package groupcommit

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
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

var (
	codeBlock = regexp.MustCompile("(?s)```(?:go|diff)\n(.*?)\n```")
	linkedTo  = regexp.MustCompile(`\]\(\.\./([\w./-]+\.go)\)`)
	tried     = regexp.MustCompile("`([\\w./-]+ v\\d[\\w.-]*)`")
)

// recipes are the sections of docs/with.md, by their titles.
func recipes(t *testing.T) map[string]string {
	page, err := os.ReadFile("docs/with.md")
	require.NoError(t, err)
	all := make(map[string]string)
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		title, text, _ := strings.Cut(section, "\n")
		all[title] = text
	}
	require.NotEmpty(t, all)
	return all
}

// The files are compiled and run by the tests of their modules. Where a recipe names several, its code may go on in the next.
func TestTheCodeOfARecipeIsThatOfTheFilesWhichItNames(t *testing.T) {
	for title, text := range recipes(t) {
		var source []string
		for _, link := range linkedTo.FindAllStringSubmatch(text, -1) {
			file, err := os.ReadFile(link[1])
			require.NoError(t, err, title)
			source = append(source, newLines(string(file))...)
		}
		for _, block := range codeBlock.FindAllStringSubmatch(text, -1) {
			assert.Empty(t, notIn(source, newLines(block[1])), "%s: the first of these lines is in none of its files, or not in this order", title)
		}
	}
}

func TestARecipeNamesTheVersionsWithWhichItsFilesWereTried(t *testing.T) {
	for title, text := range recipes(t) {
		var modules string
		for _, link := range linkedTo.FindAllStringSubmatch(text, -1) {
			modules += moduleOf(t, link[1])
		}
		for _, version := range tried.FindAllStringSubmatch(text, -1) {
			assert.True(t, strings.Contains(modules, "\t"+version[1]+"\n"), "%s: %s is not in go.mod", title, version[1])
		}
	}
}

// newLines are the lines of code without what a diff takes away, without indentation and comments that stand behind code.
func newLines(code string) (all []string) {
	for line := range strings.Lines(code) {
		line, _, _ = strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "+")), " // ")
		if line != "" && !strings.HasPrefix(line, "-") {
			all = append(all, line)
		}
	}
	return all
}

// notIn are the lines that are left over when those of source have been found, in order.
func notIn(source, lines []string) []string {
	for _, line := range source {
		if len(lines) > 0 && lines[0] == line {
			lines = lines[1:]
		}
	}
	return lines
}

// moduleOf reads the go.mod of the module that a file belongs to.
func moduleOf(t *testing.T, file string) string {
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			return string(mod)
		}
		require.NotEqual(t, ".", dir, "%s: %v", file, err)
	}
}
