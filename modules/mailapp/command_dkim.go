// SPDX-License-Identifier: Apache-2.0

package mailapp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mailcaddy/mailcaddy/internal/wire/dkimsign"
)

// dkimCommand returns `mail dkim`.
func dkimCommand() *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "dkim",
		Short: "Makes keys to sign mail with",
	})
	cmd.AddCommand(dkimGenerateCommand())
	return cmd
}

// dkimGenerateCommand returns `mail dkim generate`.
func dkimGenerateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate DOMAIN SELECTOR",
		Short: "Makes a key and prints its DNS record",
		Long: "Writes a new private key to a file that nobody else may read, and prints the TXT record to\n" +
			"publish and the line for the Caddyfile. A file that is there is never overwritten. It asks no\n" +
			"gateway and changes no DNS.\n\n" +
			"RSA is understood everywhere. Ed25519 is short and fast, and few receivers know it: use it\n" +
			"beside an RSA key, under a selector of its own.",
		Args: cobra.ExactArgs(2),
		RunE: runDKIMGenerate,
	}
	cmd.Flags().String("type", string(dkimsign.RSA), "The kind of key: rsa or ed25519")
	cmd.Flags().Int("bits", 2048, "The length of an RSA key: 2048 to 4096")
	cmd.Flags().String("out", "", "The file to write, or the directory to write DOMAIN.SELECTOR.pem in; default the present one")
	return cmd
}

// generatedKey is what `mail dkim generate` made, for --json.
type generatedKey struct {
	Domain   string        `json:"domain"`
	Selector string        `json:"selector"`
	Type     dkimsign.Kind `json:"type"`
	File     string        `json:"file"`
	Name     string        `json:"name"`
	Value    string        `json:"value"`
	// Zone is the record as it stands in a zone file.
	Zone string `json:"zone"`
	// Caddyfile is the line for the block of the domain.
	Caddyfile string `json:"caddyfile"`
}

func runDKIMGenerate(cmd *cobra.Command, args []string) error {
	made, bits, err := plannedKey(cmd, args)
	if err != nil {
		return err
	}
	text, err := dkimsign.Generate(made.Type, bits)
	if err != nil {
		return err
	}
	if made.Value, err = dkimsign.Record(text); err != nil {
		return err
	}
	made.Zone = zoneLine(made.Name, made.Value)
	if err := writeKeyFile(made.File, text); err != nil {
		return err
	}
	if wantsJSON(cmd) {
		return printJSON(cmd, made)
	}
	return say(cmd, "The private key is in %s; let only the gateway read it.\n\n"+
		"Publish this TXT record:\n\n  Name:   %s\n  Value:  %s\n\n"+
		"In a zone file:\n\n%s\n\n"+
		"When it is published, add to the block `domain %s` in the Caddyfile:\n\n  %s\n",
		made.File, made.Name, made.Value, made.Zone, made.Domain, made.Caddyfile)
}

// plannedKey reads what the arguments and flags ask for, and how many bits an
// RSA key gets.
func plannedKey(cmd *cobra.Command, args []string) (made *generatedKey, bits int, err error) {
	made = &generatedKey{Type: dkimsign.Kind(cmd.Flag("type").Value.String())}
	if made.Domain, err = normalizeName(args[0]); err != nil {
		return nil, 0, err
	}
	if made.Selector, err = dkimsign.NormalizeSelector(args[1]); err != nil {
		return nil, 0, err
	}
	// It is refused here what no gateway would load.
	if _, err := newSigner(made.Domain, []DKIMKey{{Selector: made.Selector}}); err != nil {
		return nil, 0, err
	}
	if bits, err = cmd.Flags().GetInt("bits"); err != nil {
		return nil, 0, err
	}
	if made.Type != dkimsign.RSA && cmd.Flag("bits").Changed {
		return nil, 0, errors.New("--bits is for RSA keys; Ed25519 keys have one length")
	}
	made.Name = dkimsign.RecordName(made.Domain, made.Selector)
	file := cmd.Flag("out").Value.String()
	if info, err := os.Stat(file); file == "" || strings.HasSuffix(file, string(os.PathSeparator)) || err == nil && info.IsDir() {
		file = filepath.Join(file, made.Domain+"."+made.Selector+".pem")
	}
	if made.File, err = filepath.Abs(file); err != nil {
		return nil, 0, fmt.Errorf("finding where to write the key: %w", err)
	}
	if strings.ContainsAny(made.File, "{}\r\n") {
		return nil, 0, fmt.Errorf("%q cannot stand in a Caddyfile: write the key to another place with --out", made.File)
	}
	made.Caddyfile = "dkim " + made.Selector + " " + quoted(made.File)
	return made, bits, nil
}

// writeKeyFile writes the key to a new file, or leaves none.
func writeKeyFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names a file of his own
	switch {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("%s is there already, and mail may be signed with it: choose another selector, or another file with --out", path)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("writing the key: %w: make its directory first", err)
	case err != nil:
		return fmt.Errorf("writing the key: %w", err)
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("writing the key: %w", err), os.Remove(path))
	}
	return nil
}

// zoneLine returns a TXT record for a zone file (RFC 1035 section 5.1). Values
// of DKIM have no quotes.
func zoneLine(name, value string) string {
	parts := dkimsign.Strings(value)
	if len(parts) == 1 {
		return name + `. IN TXT "` + value + `"`
	}
	return name + ". IN TXT (\n  \"" + strings.Join(parts, "\"\n  \"") + "\"\n)"
}

// quoted returns a word for a Caddyfile.
func quoted(word string) string {
	if strings.ContainsAny(word, " \t\"`") {
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	}
	return word
}
