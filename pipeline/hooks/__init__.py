"""What a mail server asks and is told: text in, text out."""
