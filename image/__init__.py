"""What container images are made from and checked with: trimming, the bill of materials, the audit."""
