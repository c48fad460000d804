"""The label page's store: people, batches of items, and the judgements that people give.

The pages that show and fill it are in flows/servers/label_page/. What ingestion makes of its rows is in
tasks/data/.
"""
