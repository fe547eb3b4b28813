// SPDX-License-Identifier: Apache-2.0

package preset

import (
	"time"

	"github.com/mailcaddy/mailcaddy/mailflow"
)

// An entry is a row of the table.
type entry struct {
	preset  Preset
	aliases []string
	// argue puts an argument in, "" for none; nil if it takes none.
	argue func(p *Preset, arg string) error
}

const (
	// sesFirstRegion is the region that stands for none.
	sesFirstRegion = "us-east-1"
	mailgunEU      = "smtp.eu.mailgun.org"
	// outlookPersonal serves Outlook.com accounts, beside the one of Microsoft
	// 365 (https://support.microsoft.com/office/8361e398-8af4-4e97-b147-6c6c4ac95353).
	outlookPersonal = "smtp-mail.outlook.com"
)

func perDay(n int) mailflow.Limit    { return mailflow.Limit{Count: n, Per: mailflow.Day} }
func perMinute(n int) mailflow.Limit { return mailflow.Limit{Count: n, Per: time.Minute} }
func perSecond(n int) mailflow.Limit { return mailflow.Limit{Count: n, Per: time.Second} }

// table is what is known about each provider. A reason stands with a fact that
// surprises; pages are in Sources.
var table = []entry{
	{preset: Preset{
		Name: "postmark", Title: "Postmark",
		Host: "smtp.postmarkapp.com", Port: 587, TLS: StartTLS, Ports: []uint16{25, 587, 2525},
		Login: Login{
			Mechanisms: []string{"plain", "login"},
			Words:      "the server's API token is user and password; or an SMTP token's access key and secret key",
		},
		SPF: "spf.mtasv.net", OwnReversePath: Yes,
		DKIM: DKIM{
			Record: "TXT",
			Words:  "one TXT record under a selector that begins with its date, and a CNAME pm-bounces to pm.mtasv.net for an aligned reverse-path",
		},
		Envelope: mailflow.EnvelopeBounce,
		// It replaces the Message-Id of all mail by SMTP that does not have this
		// field. What its reply to the content has is not documented.
		MessageID: MessageID{Kept: No, Keep: "X-PM-KeepID: true"},
		Sources: Sources{
			Server:    "https://postmarkapp.com/developer/user-guide/send-email-with-smtp",
			Login:     "https://postmarkapp.com/developer/user-guide/send-email-with-smtp",
			SPF:       "https://spfwise.com/en/article/postmark-spf-dkim-dmarc-setup",
			DKIM:      "https://trustyourinbox.com/kb/source-configuration/postmark",
			Envelope:  "https://spfwise.com/en/article/postmark-spf-dkim-dmarc-setup",
			MessageID: "https://postmarkapp.com/developer/user-guide/send-email-with-smtp",
		},
	}},
	{aliases: []string{"sendinblue"}, preset: Preset{
		Name: "brevo", Title: "Brevo (Sendinblue)",
		Host: "smtp-relay.brevo.com", Port: 587, TLS: StartTLS, Ports: []uint16{465, 587, 2525},
		Login: Login{
			Mechanisms: []string{"plain", "login"},
			Words:      "the login of the page SMTP & API, and an SMTP key: an API key does not work",
		},
		// It sends from shared addresses with a reverse-path of its own.
		OwnReversePath: Yes,
		DKIM: DKIM{
			Record: "CNAME", Selectors: []string{"brevo1", "brevo2"},
			Words: "the CNAME or TXT records of the page Domains; without them it replaces the From by one of brevosend.com",
		},
		Quotas:   []Quota{{perDay(300), "the free plan"}},
		Envelope: mailflow.EnvelopeBounce,
		// Mail arrives with <UUID@smtp-relay.sendinblue.com>, and ours in a field
		// Origin-messageId, as on
		// https://lore.kernel.org/git/9e180f50-4bf4-4822-9b02-2a1b50114e09@smtp-relay.sendinblue.com/
		// The reply "queued as <ID>" repeats ours, so it says nothing about the new
		// one.
		MessageID: MessageID{Kept: No, In: Nowhere},
		Sources: Sources{
			Server:    "https://developers.brevo.com/docs/smtp-integration",
			Login:     "https://developers.brevo.com/docs/smtp-integration",
			SPF:       "https://help.brevo.com/hc/en-us/articles/17286219877778",
			DKIM:      "https://help.brevo.com/hc/en-us/articles/16045394674066",
			Limits:    "https://www.captaindns.com/en/blog/brevo-transactional-email-technical-guide",
			Envelope:  "https://www.captaindns.com/en/blog/brevo-transactional-email-technical-guide",
			MessageID: "https://github.com/PHPMailer/PHPMailer/issues/2859",
		},
	}},
	{argue: argueSES, preset: Preset{
		Name: "amazon_ses", Title: "Amazon SES",
		Host: "email-smtp." + sesFirstRegion + ".amazonaws.com", Port: 587, TLS: StartTLS, Ports: []uint16{25, 465, 587, 2465, 2587},
		Login: Login{
			Mechanisms: []string{"plain", "login"},
			Words:      "SMTP credentials of the region, made on the page SMTP settings: keys of IAM do not work as they are",
		},
		SPF: "amazonses.com", OwnReversePath: Yes,
		DKIM: DKIM{
			Record: "CNAME",
			Words:  "three CNAME records TOKEN._domainkey to TOKEN.dkim.amazonses.com (Easy DKIM); a custom MAIL FROM domain needs its MX and SPF records too",
		},
		Quotas: []Quota{
			{perDay(200), "an account in the sandbox"},
			{perSecond(1), "an account in the sandbox"},
		},
		Envelope: mailflow.EnvelopeBounce, NullSender: No, // 501 Invalid MAIL FROM address provided
		// "250 Ok ID" (https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html),
		// where ID stands before "@" in what arrives. Behind it stands the region,
		// and for the first one email (https://github.com/drewblas/aws-ses/pull/68).
		MessageID: MessageID{Kept: No, In: LastWord},
		Sources: Sources{
			Server:     "https://docs.aws.amazon.com/ses/latest/dg/smtp-connect.html",
			Login:      "https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html",
			SPF:        "https://docs.aws.amazon.com/ses/latest/dg/send-email-authentication-spf.html",
			DKIM:       "https://docs.aws.amazon.com/ses/latest/dg/send-email-authentication-dkim-easy.html",
			Limits:     "https://docs.aws.amazon.com/ses/latest/dg/quotas.html",
			Envelope:   "https://docs.aws.amazon.com/ses/latest/dg/send-email-smtp.html",
			NullSender: "https://github.com/docker-mailserver/docker-mailserver/issues/2403",
			MessageID:  "https://docs.aws.amazon.com/ses/latest/dg/header-fields.html",
		},
	}},
	{argue: argueMailgun, preset: Preset{
		Name: "mailgun", Title: "Mailgun",
		Host: "smtp.mailgun.org", Port: 587, TLS: StartTLS, Ports: []uint16{25, 465, 587, 2525},
		Login: Login{
			Mechanisms: []string{"plain", "login"},
			Words:      "an SMTP credential of the sending domain, such as postmaster@mg.example.com: the API key does not work",
		},
		SPF: "mailgun.org", OwnReversePath: Yes, // bounce+...@ the sending domain
		DKIM: DKIM{
			Record: "TXT",
			Words:  "the TXT record of the page Domain Verification & DNS; with automatic sender security two CNAME records",
		},
		Quotas:   []Quota{{perDay(300), "a domain that is not verified"}},
		Envelope: mailflow.EnvelopeBounce,
		// The reply is "250 Great success"; mail arrives with our own id.
		MessageID: MessageID{Kept: Yes},
		Sources: Sources{
			Server:    "https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-smtp",
			Login:     "https://documentation.mailgun.com/docs/mailgun/user-manual/sending-messages/send-smtp",
			SPF:       "https://documentation.mailgun.com/docs/mailgun/user-manual/domains/domains-verify",
			DKIM:      "https://documentation.mailgun.com/docs/mailgun/user-manual/domains/domains-verify",
			Limits:    "https://documentation.mailgun.com/docs/mailgun/user-manual/domains/domains-verify",
			Envelope:  "https://lore.kernel.org/all/e4f85a46420240093b69c761d9a7797b@codeaurora.org/",
			MessageID: "https://lore.kernel.org/all/e4f85a46420240093b69c761d9a7797b@codeaurora.org/",
		},
	}},
	{preset: Preset{
		Name: "sendgrid", Title: "Twilio SendGrid",
		Host: "smtp.sendgrid.net", Port: 587, TLS: StartTLS, Ports: []uint16{25, 465, 587, 2525},
		Login: Login{
			Mechanisms: []string{"plain", "login"}, User: "apikey",
			Words: "the user is the word apikey, the password an API key that may send mail",
		},
		SPF: "sendgrid.net", OwnReversePath: Yes,
		DKIM: DKIM{
			Record: "CNAME", Selectors: []string{"s1", "s2"},
			Words: "three CNAME records of the page Sender Authentication: s1._domainkey, s2._domainkey and the one for the reverse-path",
		},
		Envelope: mailflow.EnvelopeBounce,
		// The id in its reply, "queued as ID", is that of its log; mail arrives
		// with our own.
		MessageID: MessageID{Kept: Yes},
		Sources: Sources{
			Server:    "https://www.twilio.com/docs/sendgrid/for-developers/sending-email/integrating-with-the-smtp-api",
			Login:     "https://www.twilio.com/docs/sendgrid/for-developers/sending-email/integrating-with-the-smtp-api",
			SPF:       "https://www.twilio.com/docs/sendgrid/api-reference/domain-authentication/authenticate-a-domain",
			DKIM:      "https://www.twilio.com/docs/sendgrid/api-reference/domain-authentication/authenticate-a-domain",
			Envelope:  "https://www.twilio.com/docs/sendgrid/api-reference/domain-authentication/authenticate-a-domain",
			MessageID: "https://lore.kernel.org/all/20230620064732.1525594-1-jonas@kwiboo.se/",
		},
	}},
	{preset: Preset{
		Name: "mailjet", Title: "Mailjet",
		Host: "in-v3.mailjet.com", Port: 587, TLS: StartTLS, Ports: []uint16{25, 465, 587, 2525},
		Login: Login{
			Mechanisms: []string{"plain", "login"},
			Words:      "the API key and its secret key",
		},
		SPF: "spf.mailjet.com", OwnReversePath: Yes,
		DKIM: DKIM{
			Record: "TXT", Selectors: []string{"mailjet"},
			Words: "the TXT record mailjet._domainkey of the page Sender domains & addresses",
		},
		Quotas:   []Quota{{perDay(200), "the free plan"}},
		Envelope: mailflow.EnvelopeBounce,
		// Mail arrives with <...@mailjet.com>. The reply names a GUID, which
		// stands in X-MJ-SMTPGUID only.
		MessageID: MessageID{Kept: No, In: Nowhere},
		Sources: Sources{
			Server:    "https://cloud.google.com/compute/docs/tutorials/sending-mail/using-mailjet",
			Login:     "https://smtptester.org/guides/mailjet-smtp-test/",
			SPF:       "https://documentation.mailjet.com/hc/en-us/articles/360049641733",
			DKIM:      "https://www.captaindns.com/en/blog/mailjet-transactional-email-technical-guide",
			Limits:    "https://www.captaindns.com/en/blog/mailjet-transactional-email-technical-guide",
			Envelope:  "https://www.captaindns.com/en/blog/mailjet-transactional-email-technical-guide",
			MessageID: "https://github.com/mailjet/mailjet-apiv3-dotnet/issues/139",
		},
	}},
	{preset: Preset{
		Name: "gmail", Title: "Gmail and Google Workspace",
		Host: "smtp.gmail.com", Port: 587, TLS: StartTLS, Ports: []uint16{465, 587},
		Login: Login{
			Mechanisms: []string{"plain", "login"},
			Words:      "the whole address, and an app password or `auth oauth2 google`: the account's own password does not work",
		},
		SPF: "_spf.google.com", OwnReversePath: No,
		DKIM: DKIM{
			Record: "TXT", Selectors: []string{"google"},
			Words: "the TXT record google._domainkey of the admin console, for domains of Workspace",
		},
		// Who exceeds it cannot send for a day. Workspace has its own:
		// https://support.google.com/a/answer/166852
		Limits: []mailflow.Limit{perDay(500)},
		Quotas: []Quota{{perDay(2000), "a paid account of Workspace"}},
		// Mail goes out as the account or one of its addresses.
		Envelope: mailflow.EnvelopeLogin,
		// Only an id that is no msg-id is replaced; the gateway sends none.
		MessageID: MessageID{Kept: Yes},
		Sources: Sources{
			Server:    "https://developer.nylas.com/docs/cookbook/email/gmail-smtp-settings/",
			Login:     "https://developer.nylas.com/docs/cookbook/email/gmail-smtp-settings/",
			SPF:       "https://mxio.io/providers/google-workspace",
			DKIM:      "https://mxio.io/providers/google-workspace",
			Limits:    "https://support.google.com/mail/answer/22839",
			Envelope:  "https://lee-phillips.org/gmailRewriting/",
			MessageID: "https://www.spamresource.com/2025/06/gmail-says-yes-to-angle-brackets-in.html",
		},
	}},
	{preset: Preset{
		Name: "outlook", Title: "Microsoft 365 and Outlook.com",
		Host: "smtp.office365.com", Port: 587, TLS: StartTLS, Ports: []uint16{587},
		Login: Login{
			Mechanisms: []string{"login"},
			Words:      "the mailbox's address, with `auth oauth2 microsoft`: passwords are being switched off; SMTP AUTH must be enabled for the mailbox",
		},
		SPF: "spf.protection.outlook.com", OwnReversePath: No,
		DKIM: DKIM{
			Record: "CNAME", Selectors: []string{"selector1", "selector2"},
			Words: "two CNAME records selector1._domainkey and selector2._domainkey of the Defender portal, where signing is then enabled",
		},
		Limits: []mailflow.Limit{perMinute(30), perDay(10000)},
		// MAIL FROM must be the mailbox or one that it may send as.
		Envelope: mailflow.EnvelopeLogin,
		// "250 2.0.0 OK <ID> [Hostname=...]", and ours in a field
		// X-Microsoft-Original-Message-ID
		// (https://github.com/chatmail/core/pull/2250).
		MessageID: MessageID{Kept: No, In: InBrackets},
		Sources: Sources{
			Server:    "https://learn.microsoft.com/exchange/mail-flow-best-practices/how-to-set-up-a-multifunction-device-or-application-to-send-email-using-microsoft-365-or-office-365",
			Login:     "https://learn.microsoft.com/exchange/mail-flow-best-practices/how-to-set-up-a-multifunction-device-or-application-to-send-email-using-microsoft-365-or-office-365",
			SPF:       "https://mailermonk.com/guides/spf/microsoft-365",
			DKIM:      "https://domainsecurityscanner.com/guides/microsoft-365/dkim",
			Limits:    "https://learn.microsoft.com/office365/servicedescriptions/exchange-online-service-description/exchange-online-limits#sending-limits-1",
			Envelope:  "https://smtptester.org/guides/outlook-365-smtp-test/",
			MessageID: "https://git-scm.com/docs/git-send-email#Documentation/git-send-email.txt---no-outlook-id-fix",
		},
	}},
}
